/// PageRank in supersteps: every rank keeps a block of the vertices, and the result is the same
/// bytes on any number of ranks.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace p2pdvm::pagerank {

inline constexpr double damping = 0.85;
inline constexpr std::size_t name_bytes_max = 200;

/// Vertices are numbered in the order of their names; edges are sorted and without repetition.
struct graph {
  std::vector<std::string> names;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges;  ///< from, to
};

namespace detail {

inline error bad_line(std::size_t line, const std::string& what) {
  return error(errc::malformed, "line " + std::to_string(line) + " of the edges " + what);
}

inline bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/// The next word of `line`, which is shortened; empty at its end or at a comment.
inline std::string_view next_word(std::string_view& line) {
  while (!line.empty() && is_space(line.front())) line.remove_prefix(1);
  if (!line.empty() && line.front() == '#') line = {};
  std::size_t n = 0;
  while (n < line.size() && !is_space(line[n])) ++n;
  const std::string_view word = line.substr(0, n);
  line.remove_prefix(n);
  return word;
}

inline result<> check_name(std::string_view name, std::size_t line) {
  if (name.size() > name_bytes_max)
    return bad_line(line, "has a name of " + std::to_string(name.size()) + " bytes, more than " +
                              std::to_string(name_bytes_max));
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return bad_line(line, "holds a byte that is not text");
  }
  return {};
}

}  // namespace detail

/// Lines of two names separated by white space; a # starts a comment. Fails with
/// `errc::malformed` and the line's number.
[[nodiscard]] inline result<graph> parse(std::string_view text) {
  std::vector<std::pair<std::string_view, std::string_view>> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view from = detail::next_word(line);
    if (from.empty()) continue;
    const std::string_view to = detail::next_word(line);
    if (to.empty()) return detail::bad_line(number, "has one name; an edge needs two");
    if (!detail::next_word(line).empty())
      return detail::bad_line(number, "has more than two names");
    for (const std::string_view name : {from, to}) {
      if (auto checked = detail::check_name(name, number); !checked.ok()) return checked.error();
    }
    lines.emplace_back(from, to);
  }
  if (lines.size() >= UINT32_MAX / 2) return error(errc::too_large, "there are too many edges");

  std::vector<std::string_view> names;
  for (const auto& [from, to] : lines) {
    names.push_back(from);
    names.push_back(to);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  const auto id_of = [&](std::string_view name) {
    return static_cast<std::uint32_t>(std::lower_bound(names.begin(), names.end(), name) -
                                      names.begin());
  };
  graph g;
  for (const auto& [from, to] : lines) g.edges.emplace_back(id_of(from), id_of(to));
  std::sort(g.edges.begin(), g.edges.end());
  g.edges.erase(std::unique(g.edges.begin(), g.edges.end()), g.edges.end());
  g.names.assign(names.begin(), names.end());
  return g;
}

/// A rank's vertices `first` … `last` - 1, and who points at each of them.
class block {
 public:
  block(const graph& g, int rank, int ranks) : out_degree_(g.names.size(), 0) {
    const std::size_t n = g.names.size();
    const auto p = static_cast<std::size_t>(ranks);
    const auto r = static_cast<std::size_t>(rank);
    first_ = n * r / p;
    last_ = n * (r + 1) / p;
    sources_.resize(last_ - first_);
    for (const auto& [from, to] : g.edges) {
      ++out_degree_[from];
      if (to >= first_ && to < last_) sources_[to - first_].push_back(from);
    }
  }

  [[nodiscard]] std::size_t first() const noexcept { return first_; }
  [[nodiscard]] std::size_t size() const noexcept { return last_ - first_; }
  [[nodiscard]] std::size_t in_degree(std::size_t i) const { return sources_[i].size(); }

  /// What vertex `v` of rank `value` gives along each of its edges; all of it where it has none.
  [[nodiscard]] double share(std::size_t v, double value) const {
    return out_degree_[v] == 0 ? value : value / out_degree_[v];
  }
  /// The next ranks of this block. Sums run over vertices in order: the same on any number of
  /// ranks.
  void advance(const std::vector<double>& shares, std::vector<double>& values) const {
    const auto n = static_cast<double>(shares.size());
    double dangling = 0;
    for (std::size_t v = 0; v < shares.size(); ++v) {
      if (out_degree_[v] == 0) dangling += shares[v];
    }
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      double sum = 0;
      for (const std::uint32_t from : sources_[i]) sum += shares[from];
      values[i] = (1.0 - damping) / n + damping * (sum + dangling / n);
    }
  }

 private:
  std::size_t first_ = 0, last_ = 0;
  std::vector<std::uint32_t> out_degree_;
  std::vector<std::vector<std::uint32_t>> sources_;
};

struct entry {
  double value = 0;
  std::uint32_t vertex = 0;
  std::uint32_t in_degree = 0;
};

/// The `count` most important ones, most important first; equals in the order of their names.
inline void keep_best(std::vector<entry>& entries, std::size_t count) {
  std::sort(entries.begin(), entries.end(), [](const entry& a, const entry& b) {
    return a.value != b.value ? a.value > b.value : a.vertex < b.vertex;
  });
  if (entries.size() > count) entries.resize(count);
}

[[nodiscard]] inline std::string table(const std::vector<entry>& best, const graph& g) {
  std::string text = fmt::format("{:>5}  {:<11}  {:>9}  name\n", "place", "rank", "in-degree");
  for (std::size_t i = 0; i < best.size(); ++i)
    text += fmt::format("{:>5}  {:.9f}  {:>9}  {}\n", i + 1, best[i].value, best[i].in_degree,
                        g.names[best[i].vertex]);
  return text;
}

/// Result "top" (and "output", for a file): the table. Result "ranks": every vertex's value.
inline task<> hand_over(peal::rank& rank, bsp::world& world, const graph& g, const block& mine,
                        const std::vector<double>& values) {
  const auto count = rank.option<std::size_t>("top");
  std::vector<entry> best;
  for (std::size_t i = 0; i < values.size(); ++i)
    best.push_back({values[i], static_cast<std::uint32_t>(mine.first() + i),
                    static_cast<std::uint32_t>(mine.in_degree(i))});
  keep_best(best, count);
  world.send(0, 0, best);
  co_await world.sync();
  rank.result("ranks", payload::copy_of(std::as_bytes(std::span(values))));
  if (rank.id() != 0) co_return;
  std::vector<entry> all;
  for (const bsp::message& m : world.messages()) {
    const std::vector<entry> some = m.values<entry>();
    all.insert(all.end(), some.begin(), some.end());
  }
  keep_best(all, count);
  const std::string text = table(all, g);
  rank.result("top", text);
  rank.result("output", text);
}

inline task<> body(peal::rank& rank) {
  bsp::world world(rank);
  const payload file = co_await rank.input("input");
  if (file.empty())
    error(errc::invalid_argument, "pagerank needs --input FILE, a list of edges").raise();
  const graph g = parse(as_text(file.view())).value();
  const auto iterations = rank.option<std::uint64_t>("iterations");

  const block mine(g, rank.id(), rank.size());
  const double start = g.names.empty() ? 0.0 : 1.0 / static_cast<double>(g.names.size());
  std::vector<double> values(mine.size(), start);
  std::vector<double> shares(g.names.size());  // of all vertices
  for (std::size_t v = 0; v < shares.size(); ++v) shares[v] = mine.share(v, start);
  bsp::array<double> everywhere(world, shares);
  std::uint64_t done = 0;
  rank.state("iteration", done);
  rank.region("ranks", values);
  rank.region("shares", shares);
  co_await rank.restore();

  while (done < iterations) {
    mine.advance(shares, values);
    std::vector<double> own(values.size());
    for (std::size_t i = 0; i < own.size(); ++i) own[i] = mine.share(mine.first() + i, values[i]);
    for (int r = 0; r < rank.size(); ++r) everywhere.put(r, mine.first(), own);
    ++done;
    co_await world.safe_sync();
  }
  co_await hand_over(rank, world, g, mine, values);
}

}  // namespace p2pdvm::pagerank
