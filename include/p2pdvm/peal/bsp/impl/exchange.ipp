#pragma once

#include <p2pdvm/peal/bsp/world.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::bsp {

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
    for (byte_vector& out : out_) detail::append_record(out, head, folds_[i]->mine());
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
    detail::superstep_head head = mine;
    head.bytes = whole.size();
    std::memcpy(whole.data(), &head, sizeof head);
    if (i == 0) {
      all[to].first = payload(std::move(whole));
    } else {
      send_whole(static_cast<int>(to), tag_of(false), std::move(whole));
    }
  }
  for (std::size_t i = 0; i < ranks; ++i) {
    if (static_cast<int>(i) != rank())
      all[i].first = co_await receive_whole(static_cast<int>(i), tag_of(false), std::nullopt, at);
    all[i].second = detail::records_of(all[i].first.view(), detail::head_bytes);
  }
  co_return all;
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

P2PDVM_DECL task<payload> world::receive_whole(int source, std::int64_t tag, std::optional<std::uint64_t> bytes,
                                               peal::call_site at) {
  const int from = job_rank(source);
  const peal::message first = co_await port_.receive(from, tag, 0, at);
  std::uint64_t total = first.body().size();
  if (bytes) {
    total = *bytes;
  } else if (total >= detail::head_bytes) {
    detail::superstep_head head;
    std::memcpy(&head, first.body().data(), sizeof head);
    total = head.bytes;
  } else {
    total = 0;  // damaged
  }
  if (total == first.body().size()) co_return first.body();
  byte_vector whole = to_vector(first.body().view());
  while (whole.size() < total) {
    const peal::message next = co_await port_.receive(from, tag, 0, at);
    if (next.body().empty()) break;
    append(whole, next.body().view());
  }
  if (whole.size() != total) detail::refuse("a message of a superstep is damaged");
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

P2PDVM_DECL world::target world::target_of(const detail::record& r, int source) const {
  const auto who = [&] {
    const bool put = r.head.kind == detail::record_kind::put;
    return "rank " + std::to_string(source) + (put ? " puts " : " gets ");
  };
  const auto place = [&] {
    return " (superstep " + std::to_string(superstep_) + ", " +
           place_text(source, r.head.file, r.head.line) + ")";
  };
  detail::registered* const owner =
      r.head.slot < slots_.size() ? slots_[r.head.slot] : nullptr;
  if (owner == nullptr)
    detail::refuse(who() + "something that rank " + std::to_string(rank()) +
                   " has not registered, or no longer" + place());
  const byte_span memory = owner->memory();
  const auto offset = static_cast<std::uint64_t>(r.head.offset);
  if (offset <= memory.size() && r.head.bytes <= memory.size() - offset)
    return {owner, memory.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(r.head.bytes))};
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
      append(reply, target_of(r, source).bytes);
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
    if (asked[r]) replies[r].first = co_await receive_whole(static_cast<int>(r), tag_of(true), asked[r], at);
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
      const target into = target_of(r, source);
      if (!into.bytes.empty()) into.owner->write(into.bytes, bytes.view().subspan(r.data, into.bytes.size()));
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
