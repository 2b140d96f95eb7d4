#include "overlay_churn.hpp"

#include "detector_group.hpp"
#include "overlay_swarm.hpp"

#include <p2pdvm/sim/sessions.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <numbers>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const job_profile& wide = job_profiles[1];

/// Members crash; each is evicted when all who lived then, live still and did not stall have agreed
/// on its death.
class crash_watch {
 public:
  explicit crash_watch(detector_group& job) : job_(job) {
    job_.on_agreed = [this](std::size_t who, std::size_t by) { agreed(who, by); };
  }
  ~crash_watch() { job_.on_agreed = nullptr; }
  crash_watch(const crash_watch&) = delete;
  crash_watch& operator=(const crash_watch&) = delete;

  /// Not a member of these: they may stall when their word is wanted.
  std::set<std::size_t> excused;
  std::vector<double> times;
  /// When a member has been evicted.
  std::function<void()> evicted;

  void crash(std::size_t who) {
    job_.crash(who);
    death d{job_.world().now(), {}};
    for (std::size_t i = 0; i < job_.size(); ++i)
      if (job_.alive(i) && !excused.contains(i)) d.awaited.insert(i);
    deaths_[who] = std::move(d);
    // Whom others wait for does not answer any more either.
    std::vector<std::size_t> over;
    for (auto& [other, its] : deaths_)
      if (its.awaited.erase(who) > 0 && its.awaited.empty()) over.push_back(other);
    for (const std::size_t other : over) end(other);
  }
  [[nodiscard]] bool idle() const noexcept { return deaths_.empty(); }

 private:
  struct death {
    time_point when;
    std::set<std::size_t> awaited;
  };

  void agreed(std::size_t who, std::size_t by) {
    const auto d = deaths_.find(who);
    if (d != deaths_.end() && d->second.awaited.erase(by) > 0 && d->second.awaited.empty()) end(who);
  }
  /// The roster changes in an event of its own: detectors are in the middle of something.
  void end(std::size_t who) {
    times.push_back(to_seconds(job_.world().now() - deaths_.at(who).when));
    deaths_.erase(who);
    job_.world().call_at(job_.world().now(), [this, who] {
      job_.evict(who);
      if (evicted) evicted();
    });
  }

  detector_group& job_;
  std::map<std::size_t, death> deaths_;
};

void add_times(report& out, measurement m, const std::vector<double>& times) {
  m.parameters["crashes"] = times.size();
  m.metric = "crash_agreed_time";
  m.unit = seconds_unit;
  m.parameters["of"] = "median";
  m.value = median(times);
  out.add(m);
  m.parameters["of"] = "worst";
  m.value = *std::max_element(times.begin(), times.end());
  out.add(m);
}

/// The first ones stall for 20 s at a time, again and again with pauses of at most three minutes.
class stallers {
 public:
  stallers(detector_group& job, std::size_t count, std::uint64_t seed) : job_(job), random_(seed) {
    for (std::size_t i = 0; i < count; ++i) later(i);
  }

 private:
  void later(std::size_t i) {
    const time_point begin = job_.world().now() + milliseconds(random_.below(180'000));
    job_.world().call_at(begin, [this, i] {
      job_.stall(i, seconds(20));
      job_.world().call_at(job_.world().now() + seconds(20), [this, i] { later(i); });
    });
  }
  detector_group& job_;
  random_generator random_;
};

struct crash_run {
  const job_profile& profile = wide;
  std::size_t members = 256;
  std::optional<double> loss = {};
  double stalling = 0;  ///< share of the members
  std::size_t crashes = 20;
};

/// One crash after another; the last members, since the first ones may stall.
std::vector<double> times_of(const crash_run& how, std::uint64_t seed) {
  detector_group job(how.profile, how.members, seed, how.loss);
  crash_watch watch(job);
  const auto stalling = static_cast<std::size_t>(how.stalling * static_cast<double>(how.members));
  for (std::size_t i = 0; i < stalling; ++i) watch.excused.insert(i);
  const stallers others(job, stalling, seed);
  // All stallers have stalled before the first crash.
  job.world().run_for(stalling > 0 ? seconds(200) : seconds(15));
  for (std::size_t i = 0; i < how.crashes; ++i) {
    job.world().run_for(milliseconds(1000 + 37 * i));
    watch.crash(how.members - 1 - i);
    if (!job.world().run_until([&] { return watch.idle(); }, job.world().now() + seconds(120)))
      throw std::runtime_error("a crash is not agreed by all after two minutes, seed " +
                               std::to_string(seed));
  }
  return watch.times;
}

void sweep(const settings& how, report& out, const char* over, const crash_run& run) {
  std::vector<double> times;
  const std::uint64_t seeds = how.quick ? 1 : 3;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const auto some = times_of(run, seed);
    times.insert(times.end(), some.begin(), some.end());
  }
  measurement m = about(run.profile, run.members);
  m.parameters["sweep"] = over;
  if (run.loss) m.parameters["loss"] = *run.loss;
  m.parameters["stalling"] = run.stalling;
  m.parameters["seeds"] = seeds;
  add_times(out, m, times);
}

/// Every member crashes at the end of its session; when it has been evicted another one enters.
void sweep_churn(const settings& how, report& out, double median_session) {
  const std::size_t members = how.quick ? 16 : 256;
  const std::size_t crashes = how.quick ? 3 : median_session < 3600 ? 200 : 60;
  const std::uint64_t seed = 1;
  detector_group job(wide, members, seed);
  crash_watch watch(job);
  random_generator random(seed);
  std::size_t begun = 0;
  const std::function<void(std::size_t)> end_later = [&](std::size_t i) {
    const double session = sim::draw_exponential(random) * median_session / std::numbers::ln2;
    job.world().call_at(job.world().now() + from_seconds(session), [&, i] {
      if (begun >= crashes) return;
      ++begun;
      watch.crash(i);
    });
  };
  watch.evicted = [&] { end_later(job.enter()); };
  job.world().run_for(seconds(15));
  for (std::size_t i = 0; i < members; ++i) end_later(i);
  const time_point limit = job.world().now() + std::chrono::hours(24);
  if (!job.world().run_until([&] { return begun >= crashes && watch.idle(); }, limit))
    throw std::runtime_error("not every crash is agreed by all after a day");
  measurement m = about(wide, members);
  m.parameters["sweep"] = "churn";
  m.parameters["median_session"] = median_session;
  m.parameters["seed"] = seed;
  add_times(out, m, watch.times);
}

}  // namespace

void measure_churn(const settings& how, report& out) {
  const std::size_t few = how.quick ? 16 : 256;
  const std::size_t crashes = how.quick ? 2 : 20;
  for (const job_profile& profile : job_profiles) {
    for (const std::size_t members : {16u, 64u, 256u, 1024u}) {
      sweep(how, out, "members", {profile, members, {}, 0, std::min(crashes, members / 4)});
      if (how.quick) break;
    }
  }
  for (const double loss : {0.0, 0.01, 0.02, 0.05, 0.1, 0.2}) {
    sweep(how, out, "loss", {wide, few, loss, 0, crashes});
    if (how.quick) break;
  }
  for (const double share : {0.0, 0.05, 0.1, 0.2, 0.3}) {
    sweep(how, out, "stalls", {wide, few, {}, share, crashes / 2});
    if (how.quick) break;
  }
  for (const double median_session : {84.0, 300.0, 1200.0, 3600.0, 2.9 * 3600}) {
    sweep_churn(how, out, median_session);
    if (how.quick) break;
  }
  sweep_sessions(how, out);
}

}  // namespace p2pdvm::bench
