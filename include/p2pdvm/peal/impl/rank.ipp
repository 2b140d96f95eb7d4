#pragma once

#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <mutex>

namespace p2pdvm::peal {

P2PDVM_DECL rank::rank(rank_services& services, rank_number self, std::uint32_t ranks,
                       std::uint64_t seed)
    : services_(services),
      token_(services.token()),
      endpoint_(services.endpoint()),
      ready_(services.ready()),
      self_(self),
      ranks_(ranks),
      random_(seed + self.value()),
      first_random_(random_.state()) {
  const snapshot* const start = services_.start();
  if (start == nullptr) return;
  const snapshot::piece* const piece = start->find("rank");
  auto saved = wire::decode<rank_piece>(piece == nullptr ? byte_view() : piece->whole().view());
  if (!saved.ok()) return;  // load_everything() reports it when the body asks for its state
  finished_ = saved->finished;
  passed_ = saved->safe_points;
  for (const snapshot::piece& p : start->pieces()) {
    if (finished_ && p.name.starts_with("result/"))
      results_.emplace_back(p.name.substr(7), p.whole());
    if (finished_ && p.name.starts_with(output_piece)) (void)outputs_[p.name.substr(output_piece.size())].restore(p.parts);
  }
}

P2PDVM_DECL rank::~rank() { P2PDVM_ASSERT(waits_.empty()); }

P2PDVM_DECL void rank::check_new_name(std::string_view name) const {
  const auto same = [&](const auto& entry) { return entry.name == name; };
  if (restored_)
    detail::throw_misuse("state '" + std::string(name) + "' is named after restore(); name it before");
  if (std::any_of(states_.begin(), states_.end(), same) ||
      std::any_of(regions_.begin(), regions_.end(), same))
    detail::throw_misuse("the name '" + std::string(name) + "' is used for two pieces of state");
}

P2PDVM_DECL void rank::add_state(std::string_view name, saver save, loader load) {
  check_new_name(name);
  states_.push_back({std::string(name), std::move(save), std::move(load)});
}

P2PDVM_DECL rank::named_region& rank::add_region(std::string_view name, viewer view, filler fill) {
  check_new_name(name);
  return regions_.emplace_back(std::string(name), std::move(view), std::move(fill), "region/" + std::string(name));
}

P2PDVM_DECL block rank::block(std::uint64_t elements, std::uint64_t unit) const {
  if (unit == 0 || elements % unit != 0)
    detail::throw_misuse(std::to_string(elements) + " elements are shared out in units of " + std::to_string(unit) +
                         ", which do not divide them");
  return block_of(elements, id(), size(), unit);
}

P2PDVM_DECL std::uint64_t rank::declare_array(shape_piece::array a, std::size_t in_memory, std::size_t margin) {
  const std::uint64_t mine = block(a.elements, a.unit).count;
  if (!a.valid()) detail::throw_misuse("the distributed array '" + a.name + "' is too large");
  if (in_memory < margin || in_memory - margin < margin || in_memory - 2 * margin != mine)
    detail::throw_misuse("the distributed array '" + a.name + "' has " + std::to_string(in_memory) + " elements in the memory of rank " +
                         std::to_string(id()) + ", whose block has " + std::to_string(mine) + " and " + std::to_string(margin) +
                         " on either side");
  shape_.arrays.push_back(std::move(a));
  return mine;
}

P2PDVM_DECL task<bool> rank::restore() {
  if (restored_) detail::throw_misuse("restore() is called twice");
  {
    const std::lock_guard lock(token_);
    throw_if_cancelled();
    if (!endpoint_.end_prelude())
      detail::throw_misuse("rank " + std::to_string(id()) +
                           " calls restore() before it has received everything that was sent "
                           "before restore()");
    if (!operations_.empty())
      detail::throw_misuse("rank " + std::to_string(id()) +
                           " calls restore() with receives posted that it has not awaited");
    restored_ = true;
  }
  const snapshot* const start = services_.start();
  if (start == nullptr) co_return false;
  load_everything(*start);
  co_return true;
}

P2PDVM_DECL void rank::load_everything(const snapshot& from) {
  const auto need = [&](const std::string& name) -> const snapshot::piece& {
    if (const snapshot::piece* p = from.find(name)) return *p;
    throw std::system_error(make_error_code(errc::not_found),
                            "the snapshot has no '" + name +
                                "'; the program names other state than when it was saved");
  };
  const auto damaged = [](const std::string& name, const std::string& why) {
    throw std::system_error(make_error_code(errc::corrupted),
                            "the snapshot's '" + name + "' does not fit the program: " + why);
  };
  auto own = wire::decode<rank_piece>(need("rank").whole().view());
  if (!own.ok()) damaged("rank", own.error().message());
  random_.restore(own->random);
  for (const named_state& s : states_) {
    const auto loaded = s.load(need("state/" + s.name).whole().view());
    if (!loaded.ok()) damaged(s.name, loaded.error().message());
  }
  for (named_region& r : regions_) {
    const snapshot::piece& saved = need(r.piece);
    const auto room = r.fill(saved.size());
    if (!room)
      damaged(r.name, r.piece.starts_with(array_piece) ? "it is not this rank's block of the array" : "its size is not a multiple of the element's");
    std::size_t at = 0;
    for (const payload& part : saved.parts) {
      if (!part.empty()) std::memcpy(room->data() + at, part.data(), part.size());
      at += part.size();
    }
    r.copier.restored(saved.parts);
    r.changed.clear();
  }
  for (const snapshot::piece& p : from.pieces()) {
    if (!p.name.starts_with(output_piece)) continue;
    const auto loaded = outputs_[p.name.substr(output_piece.size())].restore(p.parts);
    if (!loaded.ok()) damaged(p.name, loaded.error().message());
  }
  for (std::size_t i = 0; i < adapters_.size(); ++i) load_adapter(from, i);
}

P2PDVM_DECL void rank::load_adapter(const snapshot& from, std::size_t index) {
  const std::string name = "adapter/" + std::to_string(index) + "/" + adapters_[index].name;
  if (const snapshot::piece* p = from.find(name)) adapters_[index].owner->load(p->whole().view());
}

P2PDVM_DECL port rank::open(std::string_view name, adapter& owner) {
  adapters_.push_back({std::string(name), &owner});
  if (restored_ && services_.start() != nullptr) load_adapter(*services_.start(), adapters_.size() - 1);
  return port(*this, size(), static_cast<std::uint32_t>(adapters_.size()));
}

P2PDVM_DECL std::string rank::cannot_cut() const {
  if (!restored_)
    return "rank " + std::to_string(id()) + " comes to a safe point before it called restore()";
  for (const opened& a : adapters_) {
    if (auto reason = a.owner->cannot_cut()) return a.name + ": " + *reason;
  }
  return {};
}

P2PDVM_DECL task<> rank::safe_point(std::source_location where) {
  return pass_safe_point(false, epoch_number(), where);
}

P2PDVM_DECL task<> rank::safe_point_together(epoch_number wished_by_any, std::source_location where) {
  return pass_safe_point(true, wished_by_any, where);
}

P2PDVM_DECL epoch_number rank::wished() const {
  const std::lock_guard lock(token_);
  return services_.wished();
}

P2PDVM_DECL task<> rank::pass_safe_point(bool together, epoch_number wished_by_any,
                                         std::source_location where) {
  suspension gate(ready_);
  {
    const std::lock_guard lock(token_);
    throw_if_cancelled();
    if (const std::string reason = cannot_cut(); !reason.empty())
      detail::throw_misuse("a safe point cannot be here: " + reason);
    const verdict answer = together ? services_.arrive_together(passed_ + 1, wished_by_any)
                                    : services_.arrive(passed_ + 1);
    if (answer != verdict::wait) ++passed_;
    if (answer == verdict::cut) {
      const epoch_number epoch = services_.cut_epoch();
      services_.captured(epoch, capture(epoch));
    }
    if (answer != verdict::wait && !services_.frozen()) co_return;
    safe_point_gate_ = &gate;
    safe_point_at_ = where;
    ++waits_begun_;
  }
  co_await gate.wait(token_);
  const std::lock_guard lock(token_);  // the runtime may be capturing this rank
  throw_if_cancelled();
}

P2PDVM_DECL void rank::end_wait() {
  P2PDVM_ASSERT(safe_point_gate_ != nullptr);
  ++passed_;
  if (!services_.frozen()) std::exchange(safe_point_gate_, nullptr)->release();
}

P2PDVM_DECL void rank::thaw() {
  if (suspension* gate = std::exchange(safe_point_gate_, nullptr)) gate->release();
}

P2PDVM_DECL std::vector<wait_state> rank::waits(std::size_t most) {
  std::vector<wait_state> all;
  if (safe_point_gate_ != nullptr) {
    wait_state s;
    s.why = wait_state::kind::safe_point;
    s.number = waits_begun_;
    s.where = safe_point_at_;
    all.push_back(s);
  }
  for (const detail::waiting& w : waits_) {
    if (all.size() >= most) break;
    if (w.suspended()) all.push_back(w.state());
  }
  return all;
}

P2PDVM_DECL task<message> rank::safe_wait(port& from, int source, std::int64_t tag,
                                          std::uint32_t space, call_site at) {
  check_may_stand();
  detail::receive_wait wait(*this, from.pattern_of(source, tag, space), at, false, true);
  if (!wait.run()) co_await wait.suspend();
  wait.resumed();
  co_return wait.take();
}

P2PDVM_DECL void rank::check_may_stand() const {
  const std::lock_guard lock(token_);
  throw_if_cancelled();
  if (const std::string reason = cannot_cut(); !reason.empty())
    detail::throw_misuse("a safe wait cannot be here: " + reason);
}

P2PDVM_DECL task<std::optional<message>> rank::safe_wait_for(port& from, duration limit, int source, std::int64_t tag,
                                                             std::uint32_t space, call_site at) {
  check_may_stand();
  detail::timed_receive_wait wait(*this, from.pattern_of(source, tag, space), at);
  if (!wait.run(limit)) co_await wait.suspend();
  wait.resumed();
  co_return wait.finish();
}

P2PDVM_DECL snapshot rank::capture(epoch_number epoch) {
  snapshot taken;
  rank_piece own;
  own.safe_points = passed_;
  own.finished = finished_;
  own.random = random_.state();
  taken.add("rank", payload(wire::encode(own)));
  if (!finished_) {
    for (const named_state& s : states_) taken.add("state/" + s.name, payload(s.save()));
    for (named_region& r : regions_) {
      const time_point begin = services_.now();
      taken.add({r.piece, r.copier.copy(r.view(), r.marked ? &r.changed : nullptr), true});
      r.copier.took(services_.now() - begin);
      r.changed.clear();
    }
    shape_piece shape = shape_;
    shape.drew = random_.state() != first_random_;
    for (std::size_t i = 0; i < adapters_.size(); ++i) {
      const std::string piece = "adapter/" + std::to_string(i) + "/" + adapters_[i].name;
      taken.add(piece, payload(adapters_[i].owner->save()));
      if (adapters_[i].owner->may_begin_anew()) shape.adapters.push_back(piece);
    }
    taken.add("shape", payload(wire::encode(shape)));
  }
  const auto last_step = finished_ ? std::optional(passed_) : std::nullopt;
  for (auto& [name, log] : outputs_)
    taken.add({std::string(output_piece) + name, log.cut(services_.committed_epoch(), last_step), true});
  for (const auto& [name, bytes] : results_) {
    if (finished_) taken.add("result/" + name, bytes, true);
  }
  std::vector<const messaging::rank_message*> unseen;
  for (const detail::posted_receive& r : operations_) {
    if (r.completed() && !r.probe) unseen.push_back(&r.message);
  }
  taken.add("messages", payload(wire::encode(endpoint_.cut(epoch, unseen))));
  return taken;
}

P2PDVM_DECL void rank::cancel() {
  cancelled_ = true;
  while (!waits_.empty()) waits_.front().cancel();
  if (suspension* gate = std::exchange(safe_point_gate_, nullptr)) gate->release();
}

P2PDVM_DECL void rank::finish() {
  if (endpoint_.in_prelude()) (void)endpoint_.end_prelude();
  finished_ = true;
  states_.clear();
  regions_.clear();
  adapters_.clear();
  services_.stand(true);
}

P2PDVM_DECL std::string rank::option(std::string_view name) const {
  auto value = services_.option(name);
  return std::move(value).value();
}

P2PDVM_DECL void rank::bad_option(std::string_view name, std::string_view text) const {
  throw std::system_error(make_error_code(errc::invalid_argument),
                          "--" + std::string(name) + " must be a number, not '" +
                              std::string(text) + "'");
}

P2PDVM_DECL task<payload> rank::input(std::string name) {
  const std::lock_guard lock(token_);
  throw_if_cancelled();
  auto bytes = services_.input(name);
  co_return std::move(bytes).value();
}

P2PDVM_DECL void rank::result(std::string name, payload bytes) {
  const std::lock_guard lock(token_);
  throw_if_cancelled();
  for (auto& [existing, value] : results_) {
    if (existing == name) {
      value = std::move(bytes);
      return;
    }
  }
  results_.emplace_back(std::move(name), std::move(bytes));
}

P2PDVM_DECL output rank::output(std::string_view name) {
  const std::lock_guard lock(token_);
  throw_if_cancelled();
  if (const auto declared = services_.declares_output(name); !declared.ok())
    throw std::system_error(make_error_code(declared.error().code()), declared.error().message());
  const auto log = outputs_.try_emplace(std::string(name)).first;
  return peal::output(*this, log->second, log->first);
}

P2PDVM_DECL void rank::check_may_write(std::string_view name) const {
  throw_if_cancelled();
  if (!restored_)
    detail::throw_misuse("rank " + std::to_string(id()) + " writes into its output '" + std::string(name) +
                         "' before restore(); after a loss it would write that again");
}

P2PDVM_DECL double rank::now() const {
  return to_seconds(services_.now().time_since_epoch());
}

P2PDVM_DECL task<> rank::sleep(duration delay, std::source_location where) {
  detail::sleep_wait wait(*this, where);
  {
    const std::lock_guard lock(token_);
    wait.post(delay);
  }
  co_await wait.suspend();
  wait.resumed();
}

P2PDVM_DECL std::size_t rank::peers() const {
  const std::lock_guard lock(token_);
  return services_.peers();
}

P2PDVM_DECL void rank::take_back(rank_number destination, std::uint64_t loan) {
  const std::lock_guard lock(token_);
  endpoint_.take_back(destination, loan);
}

P2PDVM_DECL std::uint16_t rank::new_file_number(const char* file) {
  const std::uint16_t number = file_number_of(file);
  const std::lock_guard lock(token_);
  const auto known = std::find_if(files_.begin(), files_.end(), [file](const named_file& f) { return f.name == file; });
  if (known == files_.end() && files_.size() >= files_max) return number;
  last_file_ = known != files_.end() ? &*known : &files_.emplace_back(named_file{file, number});
  return number;
}

P2PDVM_DECL std::optional<std::string> rank::file_name(std::uint16_t number) const {
  for (const named_file& f : files_) {
    if (f.number == number) return std::string(file_part(f.name));
  }
  return std::nullopt;
}

P2PDVM_DECL std::string rank::unnamed_place::text() const {
  const std::byte number[2] = {static_cast<std::byte>(file >> 8), static_cast<std::byte>(file)};
  return "line " + std::to_string(line) + " of file " + to_hex(number);
}

P2PDVM_DECL std::string rank::place_text(int of, std::uint16_t file, std::uint32_t line) {
  const rank_number other(static_cast<std::uint32_t>(of));
  const std::lock_guard lock(token_);
  auto name = services_.file_name(other, file);
  if (!name) name = file_name(file);
  if (name) return *name + ":" + std::to_string(line);
  unnamed_ = unnamed_place{other, file, line};
  return unnamed_->text();
}

P2PDVM_DECL std::optional<double> rank::round_trip(int other) const {
  P2PDVM_ASSERT(other >= 0 && other < size());
  const std::lock_guard lock(token_);
  const auto measured = services_.round_trip(rank_number(static_cast<std::uint32_t>(other)));
  if (!measured) return std::nullopt;
  return to_seconds(*measured);
}

P2PDVM_DECL int rank::peer_of(int other) const {
  P2PDVM_ASSERT(other >= 0 && other < size());
  const std::lock_guard lock(token_);
  return static_cast<int>(services_.peer_of(rank_number(static_cast<std::uint32_t>(other))));
}

P2PDVM_DECL std::uint32_t rank::cores() const {
  const std::lock_guard lock(token_);
  return services_.cores();
}

P2PDVM_DECL void rank::explain(std::string sentence) {
  const std::lock_guard lock(token_);
  services_.explain(std::move(sentence));
}

}  // namespace p2pdvm::peal
