#pragma once

#include <p2pdvm/peal/bsp/world.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::bsp {

P2PDVM_DECL std::int64_t world::tag_of(bool reply) const noexcept {
  return static_cast<std::int64_t>(superstep_ * 2 + (reply ? 1 : 0));
}

P2PDVM_DECL task<> world::sync(std::source_location where) {
  (void)co_await end_superstep(detail::ending::sync, where);
}

P2PDVM_DECL task<> world::safe_sync(std::source_location where) {
  const epoch_number wished = co_await end_superstep(detail::ending::safe_sync, where);
  co_await rank_.safe_point_together(wished, where);
}

P2PDVM_DECL detail::superstep_head world::head_for(detail::ending how,
                                                   const std::source_location& where) {
  detail::superstep_head head;
  head.end = how;
  head.file = rank_.file_number(where.file_name());
  head.line = where.line();
  head.registrations = registrations_;
  head.registered = registered_;
  head.folds = static_cast<std::uint32_t>(folds_.size());
  if (how == detail::ending::safe_sync) head.wished = rank_.wished().value();
  return head;
}

P2PDVM_DECL task<epoch_number> world::end_superstep(detail::ending how, std::source_location where) {
  ending_ = true;
  for (std::size_t i = 0; i < folds_.size(); ++i) {
    detail::record_head head;
    head.kind = detail::record_kind::fold;
    head.slot = static_cast<std::uint32_t>(i);
    head.bytes = folds_[i]->mine().size();
    for (byte_vector& out : out_) detail::append_record(out, head, folds_[i]->mine());
  }
  const detail::superstep_head mine = head_for(how, where);
  const peal::call_note note{how == detail::ending::sync ? "sync of superstep" : "safe_sync of superstep",
                             static_cast<std::int64_t>(superstep_), 0, true, {}};
  const peal::call_site at(where, &note);
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
  ++superstep_;
  ending_ = false;
  co_return epoch_number(wished);
}

P2PDVM_DECL task<world::arrived> world::exchange(const detail::superstep_head& mine,
                                                 peal::call_site at) {
  const auto ranks = static_cast<std::size_t>(size());
  arrived all(ranks);
  for (std::size_t i = 0; i < ranks; ++i) {
    const std::size_t to = (static_cast<std::size_t>(rank()) + i) % ranks;
    byte_vector whole = std::exchange(out_[to], byte_vector(detail::head_bytes));
    std::memcpy(whole.data(), &mine, sizeof mine);
    if (i == 0) {
      all[to].first = payload(std::move(whole));
    } else {
      port_.post_send(static_cast<int>(to), tag_of(false), payload(std::move(whole)));
    }
  }
  for (std::size_t i = 0; i < ranks; ++i) {
    if (static_cast<int>(i) != rank()) {
      const peal::message m = co_await port_.receive(static_cast<int>(i), tag_of(false), 0, at);
      all[i].first = m.body();
    }
    if (all[i].first.size() < detail::head_bytes)
      detail::refuse("a message of a superstep is damaged");
    all[i].second = detail::records_of(all[i].first.view(), detail::head_bytes);
  }
  co_return all;
}

P2PDVM_DECL void world::check_head(const detail::superstep_head& mine,
                                   const detail::superstep_head& theirs, int source) const {
  if (theirs.end == mine.end && theirs.registered == mine.registered &&
      theirs.registrations == mine.registrations && theirs.folds == mine.folds)
    return;
  const auto name = [](detail::ending e) {
    return e == detail::ending::safe_sync ? "safe_sync" : "sync";
  };
  const std::string here = "rank " + std::to_string(rank()) + " is at the end of superstep " +
                           std::to_string(superstep_) + " (" + name(mine.end) + ", " +
                           rank_.place_text(rank(), mine.file, mine.line) + "), but rank " +
                           std::to_string(source);
  if (theirs.end == detail::ending::left)
    detail::refuse(here + " has left after " + std::to_string(superstep_) + " supersteps");
  const std::string place = rank_.place_text(source, theirs.file, theirs.line);
  const std::string there = " (" + std::string(name(theirs.end)) + ", " + place + ")";
  if (theirs.end != mine.end)
    detail::refuse(here + " ends it with " + name(theirs.end) + " (" + place + ")");
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

P2PDVM_DECL byte_span world::target_of(const detail::record& r, int source) const {
  const auto who = [&] {
    const bool put = r.head.kind == detail::record_kind::put;
    return "rank " + std::to_string(source) + (put ? " puts " : " gets ");
  };
  const auto place = [&] {
    return " (superstep " + std::to_string(superstep_) + ", " +
           rank_.place_text(source, r.head.file, r.head.line) + ")";
  };
  detail::registered* const owner =
      r.head.slot < slots_.size() ? slots_[r.head.slot] : nullptr;
  if (owner == nullptr)
    detail::refuse(who() + "something that rank " + std::to_string(rank()) +
                   " has not registered, or no longer" + place());
  const byte_span memory = owner->memory();
  const auto offset = static_cast<std::uint64_t>(r.head.offset);
  if (offset <= memory.size() && r.head.bytes <= memory.size() - offset)
    return memory.subspan(static_cast<std::size_t>(offset),
                          static_cast<std::size_t>(r.head.bytes));
  const std::uint64_t size = owner->element_bytes();
  detail::refuse(who() + std::to_string(r.head.bytes / size) + " elements at index " +
                 std::to_string(offset / size) + " of registration " +
                 std::to_string(r.head.slot) + ", of which rank " + std::to_string(rank()) +
                 " has " + std::to_string(memory.size() / size) + " elements" + place());
}

P2PDVM_DECL void world::answer_gets(const arrived& all) {
  for (int source = 0; source < size(); ++source) {
    byte_vector reply;
    bool any = false;
    for (const detail::record& r : all[static_cast<std::size_t>(source)].second) {
      if (r.head.kind != detail::record_kind::get) continue;
      any = true;
      append(reply, target_of(r, source));
    }
    // A reply to this rank itself takes the same way as the others.
    if (any) port_.post_send(source, tag_of(true), payload(std::move(reply)));
  }
}

P2PDVM_DECL task<> world::finish_gets(peal::call_site at) {
  const std::vector<get> gets = std::exchange(gets_, {});
  std::vector<std::pair<payload, std::size_t>> replies(static_cast<std::size_t>(size()));
  std::vector<bool> asked(replies.size());
  for (const get& g : gets) asked[static_cast<std::size_t>(g.source)] = true;
  for (std::size_t r = 0; r < replies.size(); ++r) {
    if (!asked[r]) continue;
    const peal::message m = co_await port_.receive(static_cast<int>(r), tag_of(true), 0, at);
    replies[r].first = m.body();
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
      if (r.head.kind != detail::record_kind::put) continue;
      const byte_span into = target_of(r, source);
      if (!into.empty()) std::memcpy(into.data(), bytes.data() + r.data, into.size());
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
