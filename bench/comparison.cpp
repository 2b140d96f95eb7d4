#include "comparison.hpp"

#include <algorithm>
#include <limits>

namespace p2pdvm::bench {

namespace {

[[nodiscard]] bool more_is_better(const measurement& m) {
  return m.unit == rate_unit || m.unit == byte_rate_unit;
}

[[nodiscard]] std::string size_text(std::size_t bytes) {
  if (bytes >= 1 << 20 && bytes % (1 << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= 1 << 10 && bytes % (1 << 10) == 0) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

/// "half_rtt, 2 processes, 8 B"
[[nodiscard]] std::string label_of(const measurement& m) {
  std::string text = m.metric;
  for (const auto& [name, value] : m.parameters.items()) {
    if (name == "path" || (name == "bytes" && value == 0)) continue;
    text += ", ";
    if (name == "bytes")
      text += size_text(value.get<std::size_t>());
    else if (name == "processes" || name == "ranks" || name == "sessions" || name == "draws")
      text += fmt::format("{} {}", value.dump(), name == "processes" && value == 1 ? "process" : name);
    else
      text += fmt::format("{} {}", name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

/// Of UTF-8 text.
[[nodiscard]] std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// Shares may be far below a thousandth.
[[nodiscard]] std::string text_of(double value, std::string_view unit) {
  return unit == fraction_unit ? fmt::format("{:.2g}", value) : human(value, unit);
}

using table = std::vector<std::vector<std::string>>;

void print_plain(const table& lines) {
  std::vector<std::size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  }
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i)
      text += line[i] + std::string(widths[i] - width_of(line[i]) + 2, ' ');
    fmt::print("{}\n", text.substr(0, text.find_last_not_of(' ') + 1));
  }
}

void print_markdown(const table& lines) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string text = "|";
    for (const std::string& cell : lines[i]) text += " " + cell + (cell.empty() ? "|" : " |");
    fmt::print("{}\n", text);
    if (i > 0) continue;
    std::string rule = "|";
    for (std::size_t c = 0; c < lines[i].size(); ++c) rule += "---|";
    fmt::print("{}\n", rule);
  }
}

}  // namespace

std::optional<double> comparison::row::of(std::string_view system) const {
  for (const column& c : columns)
    if (c.system == system) return median(c.values);
  return std::nullopt;
}

std::string comparison::row::path() const { return head.parameters.value("path", std::string()); }

void comparison::add(const measurement& m) {
  auto at = std::find_if(rows_.begin(), rows_.end(), [&](const row& r) {
    return r.head.metric == m.metric && r.head.profile == m.profile && r.head.parameters == m.parameters;
  });
  if (at == rows_.end()) {
    at = rows_.insert(rows_.end(), row{m, {}});
    at->head.system.clear();
    at->head.value = 0;
  }
  auto column_at = std::find_if(at->columns.begin(), at->columns.end(),
                                [&](const column& c) { return c.system == m.system; });
  if (column_at == at->columns.end())
    column_at = at->columns.insert(at->columns.end(), column{m.system, {}});
  column_at->values.push_back(m.value);
}

const goal* comparison::goal_of(const row& r) const {
  for (const goal& g : goals_) {
    const bool sizes = !g.bytes || r.head.parameters.value("bytes", std::size_t{0}) == *g.bytes;
    const bool counts =
        !g.processes || r.head.parameters.value("processes", std::size_t{0}) == *g.processes;
    if (g.metric == r.head.metric && g.path == r.path() && sizes && counts) return &g;
  }
  return nullptr;
}

std::string comparison::verdict(const row& r) const {
  const goal* g = goal_of(r);
  const auto mine = r.of(ours);
  if (g == nullptr) return "";
  const bool more = more_is_better(r.head);
  std::optional<double> best;
  for (const std::string& system : g->against) {
    const auto theirs = r.of(system);
    if (theirs && (!best || (more ? *theirs > *best : *theirs < *best))) best = theirs;
  }
  if (!mine || (!best && !g->against.empty())) return g->text;
  const double limit = g->factor * best.value_or(1);
  const bool met = more ? *mine >= limit : *mine <= limit;
  return g->text + (met ? ": met" : ": missed");
}

std::vector<std::string> comparison::systems_on(std::string_view path) const {
  std::vector<std::string> systems = {std::string(ours)};
  for (const row& r : rows_) {
    if (r.path() != path) continue;
    for (const column& c : r.columns)
      if (std::find(systems.begin(), systems.end(), c.system) == systems.end()) systems.push_back(c.system);
  }
  return systems;
}

void comparison::print_json(report& out) const {
  for (const row& r : rows_) {
    for (const column& c : r.columns) {
      measurement m = r.head;
      m.system = c.system;
      m.parameters["repetitions"] = c.values.size();
      m.value = median(c.values);
      out.add(m);
    }
  }
  for (const row& r : rows_) {
    const auto mine = r.of(ours);
    for (const column& c : r.columns) {
      if (!mine || c.system == ours) continue;
      measurement m = r.head;
      m.system = ours;
      m.parameters["against"] = c.system;
      m.metric += "_ratio";
      m.unit = fraction_unit;
      m.value = *mine / median(c.values);
      out.add(m);
    }
  }
}

void comparison::print_table(bool markdown) const {
  std::vector<std::string> paths;
  for (const row& r : rows_)
    if (std::find(paths.begin(), paths.end(), r.path()) == paths.end()) paths.push_back(r.path());
  for (const std::string& path : paths) {
    const std::vector<std::string> systems = systems_on(path);
    table lines(1);
    lines[0] = {"path " + path};
    for (const std::string& system : systems) lines[0].push_back(system);
    lines[0].emplace_back("goal");
    for (const row& r : rows_) {
      if (r.path() != path) continue;
      const auto mine = r.of(ours);
      auto& line = lines.emplace_back();
      line.push_back(label_of(r.head) + (r.head.profile == "native" ? "" : ", " + r.head.profile));
      for (const std::string& system : systems) {
        const auto value = r.of(system);
        std::string cell = value ? text_of(*value, r.head.unit) : std::string(markdown ? "–" : "-");
        if (value && mine && system != ours) cell += fmt::format(" ({:.2f})", *mine / *value);
        line.push_back(cell);
      }
      line.push_back(verdict(r));
    }
    markdown ? print_markdown(lines) : print_plain(lines);
    fmt::print("\n");
  }
  std::fflush(stdout);
}

void comparison::print(const settings& how, report& out) const {
  if (out.json()) {
    print_json(out);
  } else {
    print_table(how.markdown);
  }
}

}  // namespace p2pdvm::bench
