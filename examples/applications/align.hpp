/// Search of DNA sequences by local alignment: every record of a database in FASTA format against every query, as a bag of tasks.
///
/// Smith and Waterman (1981) with the affine gaps of Gotoh (1982); the scores are those of BLASTN: match 2, mismatch -3,
/// a gap of n letters -5 - 2 n. Both strands of the query are looked for.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/pool.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace p2pdvm::align {

inline constexpr int match = 2, mismatch = -3, gap_begins = 5, gap_extends = 2;
/// A task compares at most so many pairs of letters, or one record.
inline constexpr std::uint64_t cells_per_task = 20'000'000;

struct sequence {
  std::string name;
  std::string letters;  ///< A, C, G, T; anything else became N, which matches nothing
};

/// Where a record is most like the query.
struct hit {
  std::int32_t score = 0;
  std::uint32_t record = 0;
  std::uint32_t end = 0;  ///< the last letter of the record that takes part, counted from 1
  std::uint32_t reverse = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(score, record, end, reverse);
  }
};

namespace detail {

inline char letter_of(char c) {
  switch (c) {
    case 'a': case 'A': return 'A';
    case 'c': case 'C': return 'C';
    case 'g': case 'G': return 'G';
    case 't': case 'T': case 'u': case 'U': return 'T';
    default: return 'N';
  }
}

inline error bad_line(std::string_view what, std::size_t line, const std::string& why) {
  return error(errc::malformed, "line " + std::to_string(line) + " of the " + std::string(what) + " " + why);
}

inline std::string reversed(std::string_view letters) {
  std::string other(letters.rbegin(), letters.rend());
  for (char& c : other) c = c == 'A' ? 'T' : c == 'T' ? 'A' : c == 'C' ? 'G' : c == 'G' ? 'C' : c;
  return other;
}

/// First what is most alike; then in the order of the database, the query's own strand first.
inline bool better(const hit& a, const hit& b) {
  if (a.score != b.score) return a.score > b.score;
  if (a.record != b.record) return a.record < b.record;
  return a.reverse < b.reverse;
}

}  // namespace detail

/// `what` names the text in errors.
inline result<std::vector<sequence>> parse(std::string_view text, std::string_view what) {
  std::vector<sequence> all;
  for (std::size_t line = 1; !text.empty(); ++line) {
    std::string_view l = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), l.size() + 1));
    while (!l.empty() && (l.back() == '\r' || l.back() == ' ')) l.remove_suffix(1);
    if (l.empty() || l.front() == ';') continue;
    if (l.front() == '>') {
      sequence& s = all.emplace_back();
      s.name = l.substr(1, l.find_first_of(" \t") - 1);
      if (s.name.empty()) return detail::bad_line(what, line, "begins a record without a name");
      continue;
    }
    if (all.empty()) return detail::bad_line(what, line, "has letters before the first record ('>name')");
    for (const char c : l) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '*';
      if (!letter) return detail::bad_line(what, line, "has something that is no letter");
      all.back().letters += detail::letter_of(c);
    }
  }
  if (all.empty()) return error(errc::malformed, "there is no record in the " + std::string(what));
  return all;
}

/// The best local alignment: its score, and where it ends in `record` first.
inline hit best_alignment(std::string_view query, std::string_view record) {
  constexpr int never = -1'000'000;
  std::vector<int> best(query.size() + 1, 0), gap_in_query(query.size() + 1, never);
  hit found;
  for (std::size_t j = 0; j < record.size(); ++j) {
    int diagonal = 0, gap_in_record = never;
    for (std::size_t i = 1; i <= query.size(); ++i) {
      gap_in_query[i] = std::max(gap_in_query[i], best[i] - gap_begins) - gap_extends;
      gap_in_record = std::max(gap_in_record, best[i - 1] - gap_begins) - gap_extends;
      const bool same = query[i - 1] == record[j] && record[j] != 'N';
      const int score = std::max({0, diagonal + (same ? match : mismatch), gap_in_query[i], gap_in_record});
      diagonal = std::exchange(best[i], score);
      if (score > found.score) {
        found.score = score;
        found.end = static_cast<std::uint32_t>(j + 1);
      }
    }
  }
  return found;
}

/// The best hits of these records, at most `most`.
inline std::vector<hit> search(std::string_view query, const std::vector<sequence>& database, std::size_t first, std::size_t last,
                               std::size_t most) {
  const std::string other = detail::reversed(query);
  std::vector<hit> hits;
  for (std::size_t r = first; r < last; ++r) {
    for (const std::uint32_t reverse : {0u, 1u}) {
      hit h = best_alignment(reverse == 0 ? query : std::string_view(other), database[r].letters);
      h.record = static_cast<std::uint32_t>(r);
      h.reverse = reverse;
      if (h.score > 0) hits.push_back(h);
    }
  }
  std::sort(hits.begin(), hits.end(), detail::better);
  hits.resize(std::min(hits.size(), most));
  return hits;
}

/// (first, last) records of each task, one behind the other.
inline std::vector<std::pair<std::size_t, std::size_t>> shares(const std::vector<sequence>& database, std::size_t query_letters) {
  std::vector<std::pair<std::size_t, std::size_t>> all;
  std::uint64_t cells = 0;
  std::size_t first = 0;
  for (std::size_t r = 0; r < database.size(); ++r) {
    const std::uint64_t more = 2 * std::uint64_t{database[r].letters.size()} * query_letters;
    if (r > first && cells + more > cells_per_task) {
      all.emplace_back(std::exchange(first, r), r);
      cells = 0;
    }
    cells += more;
  }
  if (first < database.size()) all.emplace_back(first, database.size());
  return all;
}

inline std::string table_of(const sequence& query, const std::vector<sequence>& database, const std::vector<hit>& hits) {
  std::string text;
  for (const hit& h : hits)
    text += fmt::format("{}\t{}\t{}\t{}\t{}\n", query.name, database[h.record].name, h.score, h.reverse == 0 ? '+' : '-', h.end);
  return text;
}

inline task<std::vector<sequence>> read(peal::rank& rank, std::string name) {
  const payload text = co_await rank.input(name);
  auto parsed = parse(as_text(text.view()), name);
  if (!parsed.ok()) throw std::system_error(parsed.error().code(), parsed.error().message());
  co_return std::move(*parsed);
}

/// One bag for each query; its table is in the output once a checkpoint has committed.
inline task<> body(peal::rank& rank) {
  pool::bag bag(rank);
  bag.check(rank.option<double>("check"));
  const auto most = rank.option<std::size_t>("hits");
  std::size_t next = 0;
  rank.state("next", next);
  co_await rank.restore();
  const std::vector<sequence> database = co_await read(rank, "database");
  const std::vector<sequence> queries = co_await read(rank, "queries");
  const std::vector<sequence>* const in = &database;
  while (next < queries.size()) {
    const sequence* const query = &queries[next];
    const auto parts = bag.map(shares(database, query->letters.size()), [query, in, most](const std::pair<std::size_t, std::size_t>& p) {
      return search(query->letters, *in, p.first, p.second, most);
    });
    co_await bag.run();
    std::vector<hit> hits;
    for (const std::vector<hit>& part : parts.values()) hits.insert(hits.end(), part.begin(), part.end());
    std::sort(hits.begin(), hits.end(), detail::better);
    hits.resize(std::min(hits.size(), most));
    if (rank.id() == 0) rank.output("output").write(table_of(*query, database, hits));
    ++next;
    co_await rank.safe_point();
  }
}

}  // namespace p2pdvm::align
