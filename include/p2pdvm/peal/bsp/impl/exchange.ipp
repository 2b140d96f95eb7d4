#pragma once

#include <p2pdvm/peal/bsp/world.hpp>
#include <p2pdvm/peal/mpi/network_agreement.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace p2pdvm::bsp {

namespace detail {

/// Larger letters go the straight way, whose links carry them once and not twice.
inline constexpr std::size_t relayed_bytes_max = 4096, enclosed_bytes_max = 64 * 1024;
/// Ranks that are nearer have no use for relays [s].
inline constexpr double far_round_trip = 2e-3;

inline superstep_head head_of(byte_view letter) {
  superstep_head head;
  if (letter.size() < sizeof head) refuse("a message of a superstep is damaged");
  std::memcpy(&head, letter.data(), sizeof head);
  return head;
}

}  // namespace detail

P2PDVM_DECL std::int64_t world::tag_of(bool reply) const noexcept {
  return static_cast<std::int64_t>(superstep_ * 2 + (reply ? 1 : 0));
}

P2PDVM_DECL task<> world::sync(std::source_location where) {
  const peal::call_note note{"sync of superstep", static_cast<std::int64_t>(superstep_), 0, true, {}};
  const peal::call_site at(where, &note);
  (void)co_await end_superstep(detail::ending::sync, where, at);
}

P2PDVM_DECL task<> world::safe_sync(std::source_location where) {
  if (size() != rank_.size())
    detail::refuse("safe_sync of " + std::to_string(size()) + " ranks (" + detail::text_of(where) + "): a safe point is one of all " +
                   std::to_string(rank_.size()) + " ranks of the job");
  const peal::call_note note{"safe_sync of superstep", static_cast<std::int64_t>(superstep_), 0, true, {}};
  const peal::call_site at(where, &note);
  const epoch_number wished = co_await end_superstep(detail::ending::safe_sync, where, at);
  co_await rank_.safe_point_together(wished, where);
}

P2PDVM_DECL task<> world::sync_at(detail::place where, peal::call_note note) {
  const peal::call_site at(std::source_location::current(), &note);
  (void)co_await end_superstep(detail::ending::sync, where, at);
}

P2PDVM_DECL task<> world::leave_together(detail::place where, peal::call_note note) {
  const peal::call_site at(std::source_location::current(), &note);
  left_ = true;
  (void)co_await end_superstep(detail::ending::left, where, at);
}

P2PDVM_DECL detail::superstep_head world::head_for(detail::ending how,
                                                   const detail::place& where) {
  detail::superstep_head head;
  head.end = how;
  head.file = rank_.file_number(where.file);
  head.line = where.line;
  head.registrations = registrations_;
  head.registered = registered_;
  head.folds = static_cast<std::uint32_t>(folds_.size());
  head.ranks = static_cast<std::uint32_t>(size());
  head.origin = static_cast<std::uint32_t>(self_);
  std::size_t bytes = 0;
  for (const detail::letter& out : out_) bytes += out.size() - detail::head_bytes;
  head.words = static_cast<float>(bytes) / 8;
  head.work = static_cast<float>(rank_.now() - ended_at_);
  if (how == detail::ending::safe_sync) head.wished = rank_.wished().value();
  return head;
}

P2PDVM_DECL task<epoch_number> world::end_superstep(detail::ending how, detail::place where, peal::call_site at) {
  ending_ = true;
  for (std::size_t i = 0; i < folds_.size(); ++i) {
    detail::record_head head;
    head.kind = detail::record_kind::fold;
    head.slot = static_cast<std::uint32_t>(i);
    head.bytes = folds_[i]->mine().size();
    for (detail::letter& out : out_) out.add(head, folds_[i]->mine());
  }
  const detail::superstep_head mine = head_for(how, where);
  const arrived all = co_await exchange(mine, at);
  std::uint64_t wished = 0;
  for (int r = 0; r < size(); ++r) {
    detail::superstep_head theirs;
    std::memcpy(&theirs, all[static_cast<std::size_t>(r)].first.data(), sizeof theirs);
    check_head(mine, theirs, r);
    wished = std::max(wished, theirs.wished);
  }
  answer_gets(all);
  co_await finish_gets(at);
  write_puts(all);
  finish_folds(all);
  read_messages(all);
  note_cost(all, where);
  ++superstep_;
  ending_ = false;
  co_return epoch_number(wished);
}

P2PDVM_DECL void world::note_cost(const arrived& all, const detail::place& where) {
  detail::superstep_cost cost;
  double received = 0;
  for (const auto& [letter, records] : all) {
    const detail::superstep_head head = detail::head_of(letter.view());
    cost.work = std::max(cost.work, static_cast<double>(head.work));
    cost.words = std::max(cost.words, static_cast<double>(head.words));
    received += static_cast<double>(letter.size() - detail::head_bytes) / 8;
  }
  cost.words = std::max(cost.words, received);
  const double now = rank_.now();
  cost.took = now - std::exchange(ended_at_, now);
  costs_.add(where, cost);
}

// --- letters ---

P2PDVM_DECL task<world::arrived> world::exchange(const detail::superstep_head& mine,
                                                 peal::call_site at) {
  const auto ranks = static_cast<std::size_t>(size());
  arrived all(ranks);
  if (ways_ == ways::to_be_agreed) co_await find_relays(at);
  const bool asks = ways_ == ways::unknown;
  if (asks) say_if_far();
  std::vector<byte_vector> letters(ranks);
  for (std::size_t to = 0; to < ranks; ++to) {
    letters[to] = out_[to].take();
    detail::superstep_head head = mine;
    head.bytes = head.message_bytes = letters[to].size();
    std::memcpy(letters[to].data(), &head, sizeof head);
  }
  open_letter(payload(std::move(letters[static_cast<std::size_t>(self_)])), all);
  send_letters(std::move(letters));
  std::vector<byte_vector> begun(ranks);  // by sender, of what comes in parts
  for (std::size_t left = ranks - 1; left > 0;) {
    const peal::message m = co_await port_.receive(peal::any_source, tag_of(false), 0, at);
    byte_vector& parts = begun[position_of(m.source())];
    payload whole = m.body();
    if (!parts.empty() || detail::head_of(whole.view()).message_bytes > whole.size()) {
      if (whole.empty()) detail::refuse("a message of a superstep is damaged");
      append(parts, whole.view());
      if (parts.size() < detail::head_of(parts).message_bytes) continue;
      whole = payload(std::exchange(parts, {}));
    }
    open_letter(whole, all);
    --left;
  }
  if (asks) ways_ = anybody_far(all) ? ways::to_be_agreed : ways::known;
  co_return all;
}

P2PDVM_DECL std::size_t world::position_of(int job_rank) const {
  const auto found = std::lower_bound(members_.begin(), members_.end(), job_rank);
  if (found == members_.end() || *found != job_rank) detail::refuse("a message of a superstep is damaged");
  return static_cast<std::size_t>(found - members_.begin());
}

/// What goes through a relay is enclosed in the letter that the relay gets itself: it need not be told what to wait for.
P2PDVM_DECL void world::send_letters(std::vector<byte_vector> letters) {
  const std::size_t ranks = letters.size();
  std::vector<std::size_t> bytes(ranks);
  for (std::size_t r = 0; r < ranks; ++r) bytes[r] = letters[r].size();
  const std::size_t room = std::min(detail::enclosed_bytes_max, part_bytes_);
  for (std::size_t to = 0; to < relays_.size(); ++to) {
    if (relays_[to] < 0 || bytes[to] > detail::relayed_bytes_max) continue;
    const auto relay = static_cast<std::size_t>(relays_[to]);
    P2PDVM_ASSERT(relays_[relay] < 0);  // else its way would be too long
    byte_vector& around = letters[relay];
    if (around.size() + sizeof(detail::enclosure_head) + bytes[to] > room) continue;
    append(around, bytes_of(detail::enclosure_head{static_cast<std::uint32_t>(to), 0, bytes[to]}));
    append(around, byte_view(letters[to]).first(bytes[to]));
    letters[to].resize(bytes[to] = 0);
  }
  for (std::size_t i = 1; i < ranks; ++i) {
    const std::size_t to = (static_cast<std::size_t>(self_) + i) % ranks;
    if (letters[to].empty()) continue;
    const std::uint64_t whole = letters[to].size();
    std::memcpy(letters[to].data() + offsetof(detail::superstep_head, message_bytes), &whole, sizeof whole);
    send_whole(static_cast<int>(to), tag_of(false), std::move(letters[to]));
  }
}

P2PDVM_DECL void world::open_letter(const payload& whole, arrived& all) {
  const auto damaged = [] { detail::refuse("a message of a superstep is damaged"); };
  const detail::superstep_head head = detail::head_of(whole.view());
  if (head.origin >= all.size() || head.message_bytes != whole.size() || head.bytes < sizeof head || head.bytes > whole.size() ||
      !all[head.origin].first.empty())
    damaged();
  auto& [letter, records] = all[head.origin];
  letter = whole.slice(0, static_cast<std::size_t>(head.bytes));
  records = detail::records_of(letter.view(), detail::head_bytes);
  for (std::size_t from = letter.size(); from < whole.size();) {
    detail::enclosure_head enclosed;
    if (whole.size() - from < sizeof enclosed) damaged();
    std::memcpy(&enclosed, whole.data() + from, sizeof enclosed);
    from += sizeof enclosed;
    if (enclosed.destination >= all.size() || enclosed.bytes > whole.size() - from) damaged();
    port_.post_send(members_[enclosed.destination], tag_of(false), whole.slice(from, static_cast<std::size_t>(enclosed.bytes)));
    from += static_cast<std::size_t>(enclosed.bytes);
  }
}

P2PDVM_DECL std::size_t world::relayed() const noexcept {
  return static_cast<std::size_t>(std::count_if(relays_.begin(), relays_.end(), [](int r) { return r >= 0; }));
}

P2PDVM_DECL void world::say_if_far() {
  const bool near = size() < 3 || std::all_of(members_.begin(), members_.end(), [this](int r) {
    const auto time = rank_.round_trip(r);
    return time && *time < detail::far_round_trip;
  });
  if (near) return;
  detail::record_head head;
  head.kind = detail::record_kind::far;
  for (detail::letter& out : out_) out.add(head, {});
}

P2PDVM_DECL bool world::anybody_far(const arrived& all) {
  return std::any_of(all.begin(), all.end(), [](const auto& letter) {
    return std::any_of(letter.second.begin(), letter.second.end(), [](const detail::record& r) { return r.head.kind == detail::record_kind::far; });
  });
}

P2PDVM_DECL task<> world::find_relays(peal::call_site at) {
  constexpr std::uint32_t space = 1;
  ways_ = ways::known;
  std::vector<std::optional<double>> mine;
  for (const int r : members_) mine.push_back(rank_.round_trip(r));
  mpi::network_agreement agreement(size(), self_);
  agreement.begin(rank_.now(), mine);
  for (;;) {
    for (mpi::network_agreement::output& out : agreement.take_output())
      port_.post_send(job_rank(out.to), tag_of(false), payload(std::move(out.data)), space);
    if (agreement.done()) break;
    const peal::message m = co_await port_.receive(peal::any_source, tag_of(false), space, at);
    const auto taken = agreement.on_message(rank_.now(), static_cast<int>(position_of(m.source())), m.body().view());
    if (!taken.ok()) detail::refuse(taken.error().message());
  }
  const mpi::network_view view = agreement.take();
  detail::relays known(members_.size());
  for (int from = 0; from < size(); ++from) {
    std::vector<float> row;
    for (int to = 0; to < size(); ++to) row.push_back(static_cast<float>(2 * to_seconds(view.one_way(from, to))));
    known.set_row(static_cast<std::size_t>(from), row);
  }
  relays_ = known.of(static_cast<std::size_t>(self_));
  if (relayed() > 0)
    rank_.explain(std::to_string(relayed()) + " of " + std::to_string(size() - 1) + " ranks get small supersteps of rank " + std::to_string(rank()) +
                  " by way of others; the slowest best way takes " + std::to_string(std::lround(known.slowest() * 500)) + " ms");
}

P2PDVM_DECL void world::send_whole(int destination, std::int64_t tag, byte_vector whole) {
  const payload all(std::move(whole));
  std::size_t from = 0;
  do {
    const std::size_t bytes = std::min(part_bytes_, all.size() - from);
    port_.post_send(job_rank(destination), tag, all.slice(from, bytes));
    from += bytes;
  } while (from < all.size());
}

P2PDVM_DECL task<payload> world::receive_reply(int source, std::uint64_t bytes, peal::call_site at) {
  const int from = job_rank(source);
  const peal::message first = co_await port_.receive(from, tag_of(true), 0, at);
  if (first.body().size() == bytes) co_return first.body();
  byte_vector whole = to_vector(first.body().view());
  while (whole.size() < bytes) {
    const peal::message next = co_await port_.receive(from, tag_of(true), 0, at);
    if (next.body().empty()) break;
    append(whole, next.body().view());
  }
  if (whole.size() != bytes) detail::refuse("a reply to a get is damaged");
  co_return payload(std::move(whole));
}

P2PDVM_DECL void world::check_head(const detail::superstep_head& mine,
                                   const detail::superstep_head& theirs, int source) const {
  if (theirs.end == mine.end && theirs.ranks == mine.ranks && theirs.registered == mine.registered &&
      theirs.registrations == mine.registrations && theirs.folds == mine.folds)
    return;
  const auto name = [](detail::ending e) {
    return e == detail::ending::safe_sync ? "safe_sync" : e == detail::ending::left ? "end" : "sync";
  };
  const std::string here = "rank " + std::to_string(rank()) + " is at the end of superstep " +
                           std::to_string(superstep_) + " (" + name(mine.end) + ", " +
                           place_text(rank(), mine.file, mine.line) + "), but rank " +
                           std::to_string(source);
  if (theirs.end == detail::ending::left && theirs.ranks == 0)
    detail::refuse(here + " has left after " + std::to_string(superstep_) + " supersteps");
  const std::string place = place_text(source, theirs.file, theirs.line);
  const std::string there = " (" + std::string(name(theirs.end)) + ", " + place + ")";
  if (theirs.end != mine.end)
    detail::refuse(here + " ends it with " + name(theirs.end) + " (" + place + ")");
  if (theirs.ranks != mine.ranks)
    detail::refuse(here + there + " is one of " + std::to_string(theirs.ranks) + " ranks, and this one of " + std::to_string(mine.ranks));
  if (theirs.registered != mine.registered)
    detail::refuse(here + there + " has registered " + std::to_string(theirs.registered) +
                   " variables and arrays, and this one " + std::to_string(mine.registered));
  if (theirs.registrations != mine.registrations)
    detail::refuse(here + there +
                   " has registered other variables and arrays, or in another order");
  if (theirs.folds != mine.folds)
    detail::refuse(here + there + " folds " + std::to_string(theirs.folds) +
                   " values, and this one " + std::to_string(mine.folds));
}

P2PDVM_DECL detail::registered& world::owner_of(const detail::record_head& access, int source) const {
  detail::registered* const owner = access.slot < slots_.size() ? slots_[access.slot] : nullptr;
  if (owner == nullptr)
    detail::refuse(access_text(access, source) + "something that rank " + std::to_string(rank()) + " has not registered, or no longer" +
                   access_place(access, source));
  return *owner;
}

P2PDVM_DECL void world::refuse_access(const detail::record_head& access, std::int64_t offset, const detail::registered& owner, std::size_t there,
                                      int source) const {
  const std::uint64_t size = owner.element_bytes();
  detail::refuse(access_text(access, source) + std::to_string(access.bytes / size) + " elements at index " +
                 std::to_string(static_cast<std::uint64_t>(offset) / size) + " of registration " + std::to_string(access.slot) + ", of which rank " +
                 std::to_string(rank()) + " has " + std::to_string(there / size) + " elements" + access_place(access, source));
}

P2PDVM_DECL std::string world::access_text(const detail::record_head& access, int source) const {
  return "rank " + std::to_string(source) + (detail::is_put(access.kind) ? " puts " : " gets ");
}

P2PDVM_DECL std::string world::access_place(const detail::record_head& access, int source) const {
  return " (superstep " + std::to_string(superstep_) + ", " + place_text(source, access.file, access.line) + ")";
}

template <class F>
void world::each_target(const detail::record& r, byte_view letter, int source, F&& f) const {
  detail::registered& owner = owner_of(r.head, source);
  const byte_span memory = owner.memory();
  detail::each_access(r, letter, [&](std::int64_t offset, byte_view data) {
    const auto from = static_cast<std::uint64_t>(offset);
    if (from > memory.size() || r.head.bytes > memory.size() - from) refuse_access(r.head, offset, owner, memory.size(), source);
    f(owner, memory.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(r.head.bytes)), data);
  });
}

P2PDVM_DECL void world::answer_gets(const arrived& all) {
  for (int source = 0; source < size(); ++source) {
    byte_vector reply;
    bool any = false;
    const auto& [letter, records] = all[static_cast<std::size_t>(source)];
    for (const detail::record& r : records) {
      if (!detail::is_get(r.head.kind)) continue;
      any = true;
      each_target(r, letter.view(), source, [&](detail::registered&, byte_span from, byte_view) { append(reply, from); });
    }
    // A reply to this rank itself takes the same way as the others.
    if (any) send_whole(source, tag_of(true), std::move(reply));
  }
}

P2PDVM_DECL task<> world::finish_gets(peal::call_site at) {
  const std::vector<get> gets = std::exchange(gets_, {});
  std::vector<std::pair<payload, std::size_t>> replies(static_cast<std::size_t>(size()));
  std::vector<std::optional<std::uint64_t>> asked(replies.size());
  for (const get& g : gets) {
    auto& bytes = asked[static_cast<std::size_t>(g.source)];
    bytes = bytes.value_or(0) + g.bytes;
  }
  for (std::size_t r = 0; r < replies.size(); ++r) {
    if (asked[r]) replies[r].first = co_await receive_reply(static_cast<int>(r), *asked[r], at);
  }
  for (const get& g : gets) {
    auto& [bytes, used] = replies[static_cast<std::size_t>(g.source)];
    if (bytes.size() - used < g.bytes) detail::refuse("a reply to a get is damaged");
    g.into->write(bytes.view().subspan(used, g.bytes));
    used += g.bytes;
  }
}

P2PDVM_DECL void world::write_puts(const arrived& all) {
  for (int source = 0; source < size(); ++source) {
    const auto& [bytes, records] = all[static_cast<std::size_t>(source)];
    for (const detail::record& r : records) {
      if (!detail::is_put(r.head.kind)) continue;
      each_target(r, bytes.view(), source, [](detail::registered& owner, byte_span into, byte_view data) {
        if (!data.empty()) owner.write(into, data);
      });
    }
  }
}

P2PDVM_DECL void world::finish_folds(const arrived& all) {
  const auto folds = std::exchange(folds_, {});
  for (int source = 0; source < size(); ++source) {
    const auto& [bytes, records] = all[static_cast<std::size_t>(source)];
    for (const detail::record& r : records) {
      if (r.head.kind != detail::record_kind::fold) continue;
      if (r.head.slot >= folds.size()) detail::refuse("a message of a superstep is damaged");
      folds[r.head.slot]->add(source,
                              bytes.view().subspan(r.data, static_cast<std::size_t>(r.head.bytes)));
    }
  }
  for (const auto& f : folds) f->finish();
}

P2PDVM_DECL void world::read_messages(const arrived& all) {
  received_.clear();
  for (int source = 0; source < size(); ++source) {
    const auto& [bytes, records] = all[static_cast<std::size_t>(source)];
    for (const detail::record& r : records) {
      if (r.head.kind != detail::record_kind::send) continue;
      received_.emplace_back(source, r.head.offset, r.head.element_bytes,
                             bytes.slice(r.data, static_cast<std::size_t>(r.head.bytes)));
    }
  }
}

}  // namespace p2pdvm::bsp
