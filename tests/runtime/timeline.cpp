/// The picture of a run: rows and nesting as a trace viewer reads them.
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/scenario_run.hpp>
#include <p2pdvm/runtime/timeline.hpp>

#include <nlohmann/json.hpp>

#include <map>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using runtime::scenario_fault;
using runtime::timeline;

struct viewer {
  struct span {
    std::string name;
    double begin, end;
  };
  using row = std::pair<int, int>;  ///< process, thread

  explicit viewer(const std::string& text) : trace(nlohmann::json::parse(text)) {
    for (const auto& e : trace.at("traceEvents")) {
      const std::string kind = e.at("ph");
      if (kind == "M") {
        if (e.at("name") == "thread_name") names[{e.at("pid"), e.at("tid")}] = e.at("args").at("name");
        if (e.at("name") == "process_name") processes[e.at("pid")] = e.at("args").at("name");
      } else if (kind == "X") {
        const double begin = e.at("ts"), length = e.at("dur");
        CHECK(length >= 0);
        spans[{e.at("pid"), e.at("tid")}].push_back({e.at("name"), begin, begin + length});
      } else {
        REQUIRE(kind == "i");
        marks[{e.at("pid"), e.at("tid")}].push_back(e.at("name"));
      }
    }
  }
  /// Of one row, those whose name begins so.
  [[nodiscard]] std::vector<span> find(int peer, const std::string& title,
                                       std::string_view name) const {
    std::vector<span> found;
    for (const auto& [where, all] : spans) {
      if (where.first != peer || names.at(where) != title) continue;
      for (const span& s : all)
        if (s.name.starts_with(name)) found.push_back(s);
    }
    return found;
  }

  nlohmann::json trace;
  std::map<row, std::string> names;
  std::map<int, std::string> processes;
  std::map<row, std::vector<span>> spans;
  std::map<row, std::vector<std::string>> marks;
};

constexpr double tolerance = 0.01;  // microseconds

bool within(const viewer::span& inner, const viewer::span& outer) {
  return inner.begin >= outer.begin - tolerance && inner.end <= outer.end + tolerance;
}
bool apart(const viewer::span& a, const viewer::span& b) {
  return a.end <= b.begin + tolerance || b.end <= a.begin + tolerance;
}

timeline picture_of(const runtime::scenario& s) {
  timeline picture;
  runtime::scenario_watch watch;
  watch.event = [&picture](std::size_t peer, const runtime::event& e) { picture.on_event(peer, e); };
  watch.fault = [&picture](std::size_t peer, time_point at, const scenario_fault& f, bool begins) {
    runtime::show(picture, peer, at, f, begins);
  };
  const auto v = try_scenario(s, small_program(s.program), watch);
  INFO(v.reason);
  REQUIRE(v.right());
  return picture;
}

}  // namespace

TEST_CASE("a timeline has a track for each peer, and its spans nest") {
  runtime::scenario s;
  s.program = halo;
  s.options = {{"steps", "60"}};
  s.peers = 4;
  s.ranks = 4;
  scenario_fault crash;
  crash.at = 150ms;
  crash.whom = scenario_fault::target::peer;
  crash.peer = 2;
  scenario_fault stall = crash;
  stall.what = scenario_fault::action::stall;
  stall.peer = 1;
  stall.at = 50ms;
  stall.lasts = 60ms;
  s.faults = {crash, stall};
  const viewer seen(picture_of(s).json());
  REQUIRE(seen.processes.size() == 4);
  for (const auto& [peer, name] : seen.processes) CHECK(name == "peer " + std::to_string(peer));

  for (const auto& [where, spans] : seen.spans) {
    INFO("peer " << where.first << ", " << seen.names.at(where));
    for (std::size_t i = 0; i < spans.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) {
        INFO(spans[i].name << ", " << spans[j].name);
        CHECK((apart(spans[i], spans[j]) || within(spans[i], spans[j]) || within(spans[j], spans[i])));
      }
  }
  for (int peer = 0; peer < 4; ++peer) {
    const auto up = seen.find(peer, "peer", "up");
    REQUIRE(up.size() == 1);
    const auto incarnations = seen.find(peer, "peer", "incarnation");
    CHECK(incarnations.size() == (peer == 2 ? 1 : 2));
    for (const auto& i : incarnations) CHECK(within(i, up[0]));
    for (const auto& r : seen.find(peer, "peer", "recovering")) {
      REQUIRE(incarnations.size() == 2);
      CHECK(within(r, incarnations[1]));
    }
    CHECK(seen.find(peer, "peer", "recovering").size() == (peer == 2 ? 0 : 1));
    CHECK_FALSE(seen.find(peer, "checkpoints", "epoch").empty());
  }
  CHECK(seen.find(2, "peer", "up")[0].end < seen.find(0, "peer", "up")[0].end);
  const auto stalled = seen.find(1, "faults", "at 0.05 stall");
  REQUIRE(stalled.size() == 1);
  CHECK(stalled[0].end - stalled[0].begin > 59e3);
  std::size_t running = 0, cuts = 0, last_cuts = 0;
  for (const auto& [where, spans] : seen.spans) {
    const std::string& row = seen.names.at(where);
    if (!row.starts_with("rank ")) continue;
    for (const auto& inner : spans) {
      if (inner.name.starts_with(row)) {
        ++running;
        continue;
      }
      const bool inside = std::any_of(spans.begin(), spans.end(), [&](const auto& outer) {
        return outer.name.starts_with(row) && within(inner, outer);
      });
      ++(inside ? cuts : last_cuts);
    }
  }
  CHECK(running == 8);  // four ranks, twice
  CHECK(cuts >= 4);
  CHECK(last_cuts >= 4);  // with the results, when each rank has returned; again if that epoch is given up
}

TEST_CASE("what is open at the end of a timeline ends with it, and faults may overlap") {
  timeline picture;
  runtime::event e;
  e.kind = event_kind::listening;
  e.at = time_point(1s);
  picture.on_event(0, e);
  picture.on_fault(0, time_point(2s), "mute", true);
  picture.on_fault(0, time_point(3s), "lose", true);
  picture.on_fault_over(0, time_point(4s), "mute");
  picture.on_fault_over(0, time_point(4s), "never began");
  picture.on_fault(0, time_point(6s), "crash \"\xff\"\n", false);
  const viewer seen(picture.json());
  CHECK(seen.find(0, "peer", "up").at(0).end == 6e6);
  CHECK(seen.find(0, "faults", "mute").at(0).end == 4e6);
  CHECK(seen.find(0, "faults", "lose").at(0).end == 6e6);
  CHECK(seen.marks.at({0, 2}).size() == 1);
  CHECK(viewer(timeline().json()).spans.empty());
  CHECK_FALSE(picture.write("/nonexistent/timeline").ok());
}

TEST_CASE("a process that starts again is another span of the same track") {
  timeline picture;
  for (const auto begin : {1s, 5s}) {
    runtime::event e;
    e.kind = event_kind::listening;
    e.at = time_point(begin);
    picture.on_event(3, e);
    e.kind = event_kind::rank_started;
    e.rank = rank_number(7);
    picture.on_event(3, e);
    picture.on_down(3, time_point(begin + 2s));
  }
  const viewer seen(picture.json());
  const auto up = seen.find(3, "peer", "up");
  REQUIRE(up.size() == 2);
  CHECK(up[0].end == 3e6);
  CHECK(up[1].begin == 5e6);
  CHECK(seen.find(3, "rank 7", "rank 7").size() == 2);
}

}  // namespace p2pdvm::test
