#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/roll.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <tuple>

namespace p2pdvm::runtime {

// --- sets ---

P2PDVM_DECL void rank_set::add(std::uint32_t first, std::uint32_t last) {
  auto at = std::lower_bound(ranges_.begin(), ranges_.end(), first,
                             [](const auto& r, std::uint32_t v) { return std::uint64_t{r.second} + 1 < v; });
  if (at == ranges_.end() || at->first > std::uint64_t{last} + 1) {
    ranges_.insert(at, {first, last});
    return;
  }
  at->first = std::min(at->first, first);
  at->second = std::max(at->second, last);
  auto next = at + 1;
  for (; next != ranges_.end() && next->first <= std::uint64_t{at->second} + 1; ++next)
    at->second = std::max(at->second, next->second);
  ranges_.erase(at + 1, next);
}

P2PDVM_DECL void rank_set::add(const rank_set& other) {
  for (const auto& [first, last] : other.ranges_) add(first, last);
  omitted_ += other.omitted_;
}

P2PDVM_DECL rank_set rank_set::without(const rank_set& other) const {
  rank_set rest;
  for (auto [first, last] : ranges_) {
    std::uint64_t from = first;
    for (const auto& [a, b] : other.ranges_) {
      if (b < from || a > last) continue;
      if (a > from) rest.add(static_cast<std::uint32_t>(from), a - 1);
      from = std::uint64_t{b} + 1;
    }
    if (from <= last) rest.add(static_cast<std::uint32_t>(from), last);
  }
  return rest;
}

P2PDVM_DECL bool rank_set::contains(rank_number rank) const noexcept {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const auto& r) {
    return r.first <= rank.value() && rank.value() <= r.second;
  });
}

P2PDVM_DECL std::uint64_t rank_set::count() const noexcept {
  std::uint64_t n = omitted_;
  for (const auto& [first, last] : ranges_) n += std::uint64_t{last} - first + 1;
  return n;
}

P2PDVM_DECL std::optional<rank_number> rank_set::single() const noexcept {
  if (count() != 1 || ranges_.empty()) return std::nullopt;
  return rank_number(ranges_.front().first);
}

P2PDVM_DECL void rank_set::shorten(std::size_t ranges) {
  while (ranges_.size() > ranges) {
    omitted_ += ranges_.back().second - ranges_.back().first + 1;
    ranges_.pop_back();
  }
}

P2PDVM_DECL std::string rank_set::text() const {
  constexpr std::size_t shown = 12;
  std::string text = count() == 1 ? "rank " : "ranks ";
  std::uint64_t left = count();
  for (std::size_t i = 0; i < std::min(ranges_.size(), shown); ++i) {
    const auto& [first, last] = ranges_[i];
    text += i > 0 ? ", " : "";
    text += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
    left -= std::uint64_t{last} - first + 1;
  }
  if (left == 0) return text;
  return ranges_.empty() ? fmt::format("{} ranks", left) : text + fmt::format(" and {} other{}", left, left == 1 ? "" : "s");
}

P2PDVM_DECL bool rank_set::valid(std::uint32_t ranks) const noexcept {
  if (ranges_.size() > ranges_max || count() > ranks) return false;
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const auto& [first, last] = ranges_[i];
    if (first > last || last >= ranks) return false;
    if (i > 0 && first <= std::uint64_t{ranges_[i - 1].second} + 1) return false;
  }
  return true;
}

// --- the roll ---

P2PDVM_DECL void roll::add(place_group group) {
  const auto same = std::find_if(groups_.begin(), groups_.end(),
                                 [&](const place_group& g) { return g.place == group.place; });
  if (same == groups_.end()) {
    if (groups_.size() < groups_max) {
      groups_.push_back(std::move(group));
    } else {
      omitted_ += static_cast<std::uint32_t>(group.ranks.count());
    }
    return;
  }
  same->ranks.add(group.ranks);
  same->partners.add(group.partners);
  same->pairs.insert(same->pairs.end(), group.pairs.begin(), group.pairs.end());
  std::sort(same->pairs.begin(), same->pairs.end());
  if (same->pairs.size() > place_group::pairs_max) same->pairs.resize(place_group::pairs_max);
  same->anyone |= group.anyone;
  same->stuck |= group.stuck;
  same->seconds = std::max(same->seconds, group.seconds);
  same->bytes += group.bytes;
}

P2PDVM_DECL void roll::add(const backlog& unread) {
  const auto more = [](const backlog& a, const backlog& b) { return a.bytes > b.bytes; };
  backlogs_.insert(std::upper_bound(backlogs_.begin(), backlogs_.end(), unread, more), unread);
  if (backlogs_.size() > backlogs_max) backlogs_.pop_back();
}

P2PDVM_DECL void roll::add(const roll& other) {
  for (const place_group& g : other.groups_) add(g);
  for (const backlog& b : other.backlogs_) add(b);
  omitted_ += other.omitted_;
}

P2PDVM_DECL void roll::shorten() {
  for (place_group& g : groups_) {
    g.ranks.shorten(rank_set::ranges_max);
    g.partners.shorten(rank_set::ranges_max);
  }
}

P2PDVM_DECL bool roll::valid(std::uint32_t ranks) const {
  const auto printable = [](const std::string& text) {
    return text.size() <= rank_place::text_max &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
  };
  const auto good = [&](const place_group& g) {
    return g.place.what <= rank_place::doing::starts && printable(g.place.call) && printable(g.place.file) &&
           !g.ranks.empty() && g.ranks.valid(ranks) && g.partners.valid(ranks) &&
           g.pairs.size() <= place_group::pairs_max &&
           std::all_of(g.pairs.begin(), g.pairs.end(), [&](const auto& p) { return p.first < ranks && p.second < ranks; });
  };
  return groups_.size() <= groups_max && backlogs_.size() <= backlogs_max && omitted_ <= ranks &&
         std::all_of(groups_.begin(), groups_.end(), good) &&
         std::all_of(backlogs_.begin(), backlogs_.end(), [&](const backlog& b) { return b.rank.value() < ranks; });
}

P2PDVM_DECL rank_set roll::stuck() const {
  rank_set all;
  for (const place_group& g : groups_) {
    if (g.stuck) all.add(g.ranks);
  }
  return all;
}

P2PDVM_DECL std::uint32_t roll::seconds() const {
  std::uint32_t longest = 0;
  for (const place_group& g : groups_) {
    if (g.stuck) longest = std::max(longest, g.seconds);
  }
  return longest;
}

P2PDVM_DECL byte_vector roll::fingerprint() const {
  std::vector<place_group> stuck;
  for (const place_group& g : groups_) {
    if (g.stuck) stuck.push_back(g);
  }
  std::sort(stuck.begin(), stuck.end(), [](const auto& a, const auto& b) { return a.place < b.place; });
  for (place_group& g : stuck) g.seconds = 0, g.bytes = 0;
  return wire::encode(stuck);
}

// --- sentences ---

P2PDVM_DECL std::string bytes_text(std::uint64_t bytes) {
  constexpr std::uint64_t mib = 1024 * 1024;
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes < mib) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / static_cast<double>(mib));
}

P2PDVM_DECL std::string rank_place::call_text() const {
  if (number < 0) return call;
  return call.ends_with("superstep") ? fmt::format("{} {}", call, number) : fmt::format("{} #{}", call, number);
}

/// "rank 3", "any rank", "ranks 0-7 (0 from 7, 1 from 0, 2 from 1, 3 from 2 …)"
P2PDVM_DECL std::string roll::partners_of(const place_group& g) {
  if (g.partners.empty()) return "any rank";
  std::string text = g.partners.text();
  if (g.partners.count() > 1 && !g.pairs.empty()) {
    const char* const how = g.place.what == rank_place::doing::sends ? "to" : "from";
    std::string some;
    for (const auto& [rank, partner] : g.pairs) some += fmt::format("{}{} {} {}", some.empty() ? "" : ", ", rank, how, partner);
    text += " (" + some + (g.ranks.count() > g.pairs.size() ? " …)" : ")");
  }
  return text + (g.anyone ? " or any rank" : "");
}

P2PDVM_DECL std::string roll::line_of(const place_group& g, bool with_epoch) const {
  const rank_place& p = g.place;
  const bool one = g.ranks.count() == 1;
  std::string text = g.ranks.text();
  std::string where = p.file.empty() ? "" : fmt::format(" ({}:{})", p.file, p.line);
  if (with_epoch && p.epoch != epoch_number()) where += fmt::format(", since checkpoint {}", p.epoch.value());
  const auto does = [one](const char* verb, const char* s = "s") { return fmt::format(" {}{}", verb, one ? s : ""); };
  switch (p.what) {
    case rank_place::doing::computes:
      return text + does("compute") + (g.seconds > 0 ? fmt::format(" (waited for nothing for {} s)", g.seconds) : "");
    case rank_place::doing::sleeps: return text + does("sleep") + where;
    case rank_place::doing::returned: return text + (one ? " has" : " have") + " returned from the program";
    case rank_place::doing::starts: return text + (one ? " is" : " are") + " being started";
    case rank_place::doing::at_safe_point: return text + does("wait") + " at a safe point" + where;
    case rank_place::doing::sends: {
      text += does("wait") + " to send to " + partners_of(g);
      for (const backlog& b : backlogs_) {
        if (g.partners.single() == b.rank) text += fmt::format(", which has {} unread", bytes_text(b.bytes));
      }
      return text + (g.bytes > 0 ? fmt::format("; {} wait here", bytes_text(g.bytes)) : "") + where;
    }
    case rank_place::doing::probes: [[fallthrough]];
    case rank_place::doing::receives: break;
  }
  text += does("wait") + " in " + p.call_text();
  if (p.group != 0) text += fmt::format(", communicator {}", p.group);
  if (p.collective) return text + where;
  text += " from " + partners_of(g);
  return text + (p.tag ? fmt::format(", tag {}", *p.tag) : ", any tag") + where;
}

/// Those whose messages are waited for in a collective and who are not in it themselves, wherever they call it.
P2PDVM_DECL std::string roll::not_come(const place_group& g) const {
  rank_set there, awaited;
  for (const place_group& other : groups_) {
    if (!other.place.collective || other.place.number != g.place.number || other.place.group != g.place.group) continue;
    there.add(other.ranks);
    awaited.add(other.partners);
  }
  const rank_set missing = awaited.without(there);
  if (missing.empty()) return {};
  return missing.text() + (missing.count() == 1 ? " has" : " have") + " not come to " + g.place.call_text();
}

/// Of those who read so little that others may have to wait for them, the worst.
P2PDVM_DECL std::vector<std::string> roll::unread_lines() const {
  constexpr std::size_t shown = 3;
  constexpr std::size_t many_bytes = 512 * 1024, many_messages = 512;
  std::vector<std::string> lines;
  for (const backlog& b : backlogs_) {
    const bool much = b.bytes >= many_bytes || b.messages >= many_messages;
    const bool said = std::any_of(groups_.begin(), groups_.end(), [&](const place_group& g) {
      return g.place.what == rank_place::doing::sends && g.partners.single() == b.rank;
    });
    if (!much || said || lines.size() == shown) continue;
    lines.push_back(fmt::format("rank {} has {} unread in {} message{}", b.rank.value(), bytes_text(b.bytes),
                                b.messages, b.messages == 1 ? "" : "s"));
  }
  return lines;
}

P2PDVM_DECL std::string roll::text(std::uint32_t ranks) const {
  std::vector<const place_group*> order;
  rank_set known;
  std::uint64_t all = omitted_;
  bool one_epoch = true;
  for (const place_group& g : groups_) {
    order.push_back(&g);
    known.add(g.ranks);
    all += g.ranks.count();
    one_epoch &= g.place.epoch == groups_.front().place.epoch;
  }
  std::sort(order.begin(), order.end(), [](const place_group* a, const place_group* b) {  // of equals, as they came
    return std::tuple(!a->stuck, a->place.what, a) < std::tuple(!b->stuck, b->place.what, b);
  });
  const rank_set waiting = stuck();
  std::string text = fmt::format("{} {} been waiting for {} s", waiting.text(), waiting.count() == 1 ? "has" : "have", seconds());
  if (one_epoch && !groups_.empty() && groups_.front().place.epoch != epoch_number())
    text += fmt::format(", since checkpoint {}", groups_.front().place.epoch.value());
  text += ":";
  std::size_t lines = 0;
  std::set<std::pair<std::uint32_t, std::int64_t>> collectives;
  const auto add = [&](const std::string& line) {
    if (!line.empty()) text += "\n  " + line;
  };
  for (const place_group* g : order) {
    if (++lines > lines_max) {
      add(fmt::format("and {} more places", order.size() - lines_max));
      break;
    }
    add(line_of(*g, !one_epoch));
    if (g->stuck && g->place.collective && collectives.emplace(g->place.group, g->place.number).second) add(not_come(*g));
  }
  for (const std::string& line : unread_lines()) add(line);
  if (known.complete() && all < ranks && omitted_ == 0) {
    rank_set every;
    every.add(0, ranks - 1);
    add("nothing is known of " + every.without(known).text() + ": no peer answers for them");
  }
  return text;
}

}  // namespace p2pdvm::runtime
