/// Scenarios as data: drawn, printed, read, carried out and shrunk.
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/scenario_run.hpp>

#include <algorithm>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using runtime::scenario;
using runtime::scenario_fault;
using runtime::scenario_run;
using runtime::scenario_verdict;
using action = scenario_fault::action;
using target = scenario_fault::target;

scenario drawn(std::uint64_t seed) { return runtime::draw_scenario(seed, small_program_names()); }

scenario_fault timed(action what, std::uint32_t peer, duration at, duration lasts = {}) {
  scenario_fault f;
  f.at = at;
  f.what = what;
  f.whom = target::peer;
  f.peer = peer;
  f.lasts = lasts;
  return f;
}

scenario quiet(std::uint32_t steps = 40) {
  scenario s;
  s.program = supersteps;
  s.options = {{"steps", std::to_string(steps)}};
  s.peers = 4;
  s.ranks = 4;
  return s;
}

/// Runs it, requires that it is right, and gives what `watch` saw.
struct told {
  std::vector<std::pair<std::size_t, runtime::event>> events;
  std::vector<std::pair<std::size_t, bool>> faults;
  std::uint64_t digest = 0;
  [[nodiscard]] std::size_t count(event_kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [kind](const auto& e) { return e.second.kind == kind; }));
  }
};

told right_run(const scenario& s) {
  told t;
  runtime::scenario_watch watch;
  watch.event = [&t](std::size_t peer, const runtime::event& e) { t.events.emplace_back(peer, e); };
  watch.fault = [&t](std::size_t peer, time_point, const scenario_fault&, bool begins) {
    t.faults.emplace_back(peer, begins);
  };
  const scenario_verdict v = try_scenario(s, small_program(s.program), watch);
  INFO(s.text() << v.reason);
  REQUIRE(v.right());
  t.digest = v.digest;
  return t;
}

}  // namespace

TEST_CASE("a scenario comes back from its text, whatever the seed drew") {
  std::set<action> seen;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    const scenario s = drawn(seed);
    const auto back = scenario::parse(s.text(), "s");
    INFO("seed " << seed << "\n" << s.text());
    REQUIRE(back.ok());
    REQUIRE(*back == s);
    for (const auto& f : s.faults) seen.insert(f.what);
  }
  CHECK(seen.size() == runtime::all_fault_actions.size());
}

TEST_CASE("a seed draws the same scenario again, and enables few kinds of faults at a time") {
  std::size_t without = 0, repeated = 0;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    const scenario s = drawn(seed);
    CHECK(s == drawn(seed));
    std::vector<action> others;
    for (const auto& f : s.faults)
      if (!f.after) others.push_back(f.what);
    const std::set<action> kinds(others.begin(), others.end());
    without += others.empty() ? 1 : 0;
    repeated += kinds.size() < others.size() ? 1 : 0;
  }
  CHECK(without > 100);   // crashes at points of the protocol, and nothing else
  CHECK(without < 300);
  CHECK(repeated > 50);  // rare if each fault were drawn from all kinds
}

TEST_CASE("a scenario is text that a person can write") {
  const auto s = scenario::parse(
      "# a job of four ranks\n\nprogram halo # the one with the ring\n"
      "option steps 30\npeers 5\nranks 4\r\nprofile planetlab\ncheckpoint-every 1.5\nloss 0.01\n"
      "after cut 3 +120 crash-silent teller\n"
      "after recovering 1 +2 in-recovery crash-reset anyone for 4\n"
      "  at 0.25   isolate peer 3 group 2 for 2.5\n"
      "at 1 lose peer 0 share 0.25 for 3\nat 1 delay maker by 0.3 for 3\nat 2 leave peer 1\n"
      "at 3 rot peer 2 bits 16\n",
      "file");
  REQUIRE(s.ok());
  CHECK(s->program == "halo");
  CHECK(s->options == std::map<std::string, std::string>{{"steps", "30"}});
  CHECK(s->checkpoint_interval == 1500ms);
  REQUIRE(s->faults.size() == 7);
  CHECK(s->faults[0].after == event_kind::cut);
  CHECK(s->faults[0].nth == 3);
  CHECK(s->faults[0].steps == 120);
  CHECK(s->faults[0].whom == target::teller);
  CHECK(s->faults[1].in_recovery);
  CHECK(s->faults[1].lasts == 4s);
  CHECK(s->faults[2].group == 2);
  CHECK(s->faults[2].at == 250ms);
  CHECK(s->faults[3].share == 0.25);
  CHECK(s->faults[4].late == 300ms);
  CHECK(s->faults[6].bits == 16);
  CHECK(scenario::parse(s->text(), "again").value() == *s);
}

TEST_CASE("a line that is no scenario's is refused in a sentence that names it") {
  struct bad {
    const char* text;
    const char* sentence;
  };
  for (const bad& b : {
           bad{"", "file: it names no program"},
           bad{"program", "file, line 1: 'program' needs a name"},
           bad{"program a b", "file, line 1: 'b' is too much"},
           bad{"program a\nweather bad", "file, line 2: there is nothing called 'weather' in a scenario"},
           bad{"peers 0", "file, line 1: the number of peers must be a number from 1 to 1024, not '0'"},
           bad{"peers many", "file, line 1: the number of peers must be a number from 1 to 1024, not 'many'"},
           bad{"peers", "file, line 1: the number of peers must be a number from 1 to 1024, not ''"},
           bad{"ranks 9999999999", "file, line 1: the number of ranks must be a number from 1 to 65536, not '9999999999'"},
           bad{"loss nan", "file, line 1: the loss must be a number from 0 to 1, not 'nan'"},
           bad{"loss 1.5", "file, line 1: the loss must be a number from 0 to 1, not '1.5'"},
           bad{"profile moon", "file, line 1: there is no latency profile 'moon'"},
           bad{"option a 1\noption a 2", "file, line 2: the option is there twice"},
           bad{"at soon leave anyone", "file, line 1: the time must be a number from 0 to 31536000, not 'soon'"},
           bad{"at 1 explode anyone", "file, line 1: there is no fault 'explode'"},
           bad{"at 1 leave", "file, line 1: whom does it hit: peer N, anyone, teller, maker or keepers? Not ''"},
           bad{"at 1 leave peer -1", "file, line 1: the peer must be a number from 0 to 2047, not '-1'"},
           bad{"at 1 leave teller", "file, line 1: nobody tells of a time: 'teller' goes with 'after'"},
           bad{"at 1 stall keepers for 1", "file, line 1: 'keepers' goes with crashes"},
           bad{"at 1 stall peer 1", "file, line 1: 'for' and a time must follow"},
           bad{"at 1 stall peer 1 for 0", "file, line 1: the time that it lasts must be a number from 0.001 to 31536000, not '0'"},
           bad{"at 1 leave peer 1 for 3", "file, line 1: 'for' is too much"},
           bad{"at 1 lose peer 1 for 3", "file, line 1: 'share' must follow"},
           bad{"at 1 delay peer 1 for 3", "file, line 1: 'by' must follow"},
           bad{"at 1 rot peer 1 bits 0", "file, line 1: the number of bits must be a number from 1 to 1000000, not '0'"},
           bad{"at 1 rot peer 1 for 3", "file, line 1: 'for' is too much"},
           bad{"after lunch 1 +0 leave anyone", "file, line 1: there is no event 'lunch'"},
           bad{"after cut 1 leave anyone", "file, line 1: '+' and a number of steps must follow"},
       }) {
    const auto s = scenario::parse(b.text, "file");
    REQUIRE_FALSE(s.ok());
    CHECK(s.error().code() == errc::malformed);
    CHECK(s.error().message() == b.sentence);
  }
  const auto large = scenario::parse(std::string(runtime::scenario_bytes_max + 1, '\n'), "file");
  REQUIRE_FALSE(large.ok());
  CHECK(large.error().code() == errc::too_large);
  std::string many = "program a\n";
  for (std::size_t i = 0; i <= runtime::scenario_faults_max; ++i) many += "at 1 leave anyone\n";
  const auto crowd = scenario::parse(many, "file");
  REQUIRE_FALSE(crowd.ok());
  CHECK(crowd.error().message() == "file, line 258: more than 256 faults");
}

TEST_CASE("random bytes and damaged scenarios are refused or read, and what is read is valid text") {
  random_generator random(5);
  std::size_t read = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = drawn(1 + random.below(50)).text();
    for (std::uint64_t n = 1 + random.below(3); n > 0; --n) {
      const std::size_t at = random.below(text.size());
      if (random.below(2) == 0) {
        text[at] = static_cast<char>(random());
      } else {
        text.erase(at, 1 + random.below(4));
      }
    }
    const auto s = scenario::parse(text, "damaged");
    if (!s.ok()) continue;
    ++read;
    CHECK(scenario::parse(s->text(), "again").value() == *s);
  }
  CHECK(read > 50);
}

TEST_CASE("a failing scenario shrinks to what makes it fail") {
  // Pretended: a peer that is cut off for a second while another one dies silently.
  std::size_t asked = 0;
  const auto fails = [&asked](const scenario& s) {
    ++asked;
    const auto any = [&s](const auto& predicate) {
      return std::any_of(s.faults.begin(), s.faults.end(), predicate);
    };
    return s.peers >= 3 && s.ranks >= 2 &&
           any([](const auto& f) { return f.what == action::isolate && f.lasts >= 1s; }) &&
           any([](const auto& f) { return f.what == action::crash_silent && f.nth >= 2; });
  };
  scenario large = drawn(3);
  large.peers = 8;
  large.spares = 1;
  large.ranks = 8;
  large.profile = sim::latency_profile::planetlab;
  large.loss = 0.01;
  for (std::uint32_t i = 0; i < 20; ++i)
    large.faults.push_back(timed(i % 2 == 0 ? action::stall : action::lose, i % 8, 1s * i, 5s));
  large.faults.push_back(timed(action::isolate, 5, 700ms, 60s));
  large.faults.back().group = 3;
  scenario_fault crash;
  crash.what = action::crash_silent;
  crash.after = event_kind::sealed;
  crash.nth = 7;
  crash.steps = 300;
  large.faults.insert(large.faults.begin(), crash);
  REQUIRE(fails(large));

  asked = 0;
  const scenario small = shrink(large, fails, 1000);
  INFO(small.text());
  CHECK(fails(small));
  CHECK(asked < 500);
  REQUIRE(small.faults.size() == 2);
  CHECK(small.peers == 3);
  CHECK(small.ranks == 2);
  CHECK(small.spares == 0);
  CHECK(small.profile == sim::latency_profile::lan);
  CHECK(small.loss + small.reordering + small.duplication == 0);
  CHECK(small.options.at("steps") == "1");
  CHECK(small.faults[0].nth == 2);
  CHECK(small.faults[0].steps == 0);
  CHECK(small.faults[1].at == 0s);
  CHECK(small.faults[1].lasts < 2s);
  CHECK(small.faults[1].group == 1);
  CHECK(shrink(small, fails, 1000) == small);

  asked = 0;
  const scenario hurried = shrink(large, fails, 5);
  CHECK(asked == 5);
  CHECK(fails(hurried));
}

namespace {

/// Saves how far it is, but not what it has computed.
task<> forgetful_body(peal::rank& rank) {
  mpi::communicator world(rank);
  auto cells = first_cells(rank);
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  rank.state("done", done);
  co_await rank.restore();
  while (done < steps) {
    co_await exchange_halos(rank, world, cells, done);
    co_await rank.sleep(5ms);
    ++done;
    co_await rank.safe_point();
  }
  rank.result("output", hex_of(cells));
}

}  // namespace

TEST_CASE("a program that saves too little is found out, and one crash is enough to show it") {
  peal::program program("forgetful", forgetful_body);
  program.option("steps", "100", "how many").option("cells", "8", "numbers of a rank");
  scenario s = drawn(1);
  s.program = program.name();
  s.profile = sim::latency_profile::lan;
  s.checkpoint_interval = 40ms;
  s.options = {{"steps", "40"}, {"cells", "8"}};
  s.faults = {timed(action::stall, 1, 20ms, 30ms), timed(action::crash_reset, 2, 150ms),
              timed(action::lose, 0, 10ms, 20ms), timed(action::crash_reset, 1, 400ms)};
  s.faults[2].share = 0.1;
  const auto fails = [&](const scenario& what) {
    return try_scenario(what, program).what == scenario_verdict::kind::wrong_result;
  };
  REQUIRE(fails(s));
  const scenario small = shrink(s, fails, 16);
  INFO(small.text());
  CHECK(fails(small));
  REQUIRE(small.faults.size() == 1);
  CHECK(small.faults[0].what == action::crash_reset);
  CHECK(small.peers <= 4);
  // And with its state saved as it should be, the same is right.
  scenario same = small;
  same.program = halo;
  CHECK(try_scenario(same, small_program(halo)).right());
}

TEST_CASE("without faults nobody is missed, and the same scenario gives the same events again") {
  const told one = right_run(quiet());
  CHECK(one.count(event_kind::done) == 4);
  CHECK(one.count(event_kind::evicted) == 0);
  CHECK(one.faults.empty());
  CHECK(right_run(quiet()).digest == one.digest);
  scenario other = quiet();
  other.seed = 2;
  CHECK(right_run(other).digest != one.digest);
}

TEST_CASE("each kind of fault does what it says to whom it says") {
  const auto run_with = [](scenario_fault f, std::uint32_t steps = 40) {
    scenario s = quiet(steps);
    s.faults = {f};
    return right_run(s);
  };
  using faults = std::vector<std::pair<std::size_t, bool>>;
  const auto evicted = [](const told& t) { return t.count(event_kind::evicted) > 0; };

  for (const action crash : {action::crash_reset, action::crash_silent}) {
    const told t = run_with(timed(crash, 2, 100ms));
    CHECK(t.faults == faults{{2, true}});
    CHECK(evicted(t));
  }
  const told back = run_with(timed(action::crash_reset, 2, 100ms, 200ms), 400);
  CHECK(back.faults == faults{{2, true}, {2, false}});
  const told left = run_with(timed(action::leave, 1, 100ms), 200);
  CHECK(left.faults == faults{{1, true}});
  CHECK(left.count(event_kind::left) > 0);
  CHECK_FALSE(evicted(left));

  for (const action what : {action::stall, action::isolate, action::mute, action::deafen}) {
    INFO(runtime::name_of(what));
    scenario_fault brief = timed(what, 3, 100ms, 300ms);
    brief.group = 2;
    const told t = run_with(brief);
    CHECK(t.faults == faults{{3, true}, {0, true}, {3, false}, {0, false}});
    CHECK_FALSE(evicted(t));
    if (what == action::stall || what == action::isolate)
      CHECK(evicted(run_with(timed(what, 3, 100ms, 20s))));
  }
  scenario_fault lossy = timed(action::lose, 1, 50ms, 1s);
  lossy.share = 0.3;
  CHECK(run_with(lossy).faults == faults{{1, true}, {1, false}});
  scenario_fault slow = timed(action::delay, 1, 50ms, 10s);
  slow.late = 30ms;
  const told late = run_with(slow), undelayed = run_with(timed(action::stall, 1, 0s, 1ms));
  CHECK(late.events.back().second.at > undelayed.events.back().second.at + 1s);
  for (const action disk : {action::fail_write, action::fail_sync, action::fail_read})
    CHECK(run_with(timed(disk, 1, 50ms)).faults.size() == 1);
  const told full = run_with(timed(action::fill_disk, 1, 50ms, 10s));
  CHECK(full.count(event_kind::warning) > 0);
}

TEST_CASE("crashes that the job could not survive do not fall") {
  scenario s = quiet(200);
  s.peers = 3;
  for (std::uint32_t i = 0; i < 3; ++i) s.faults.push_back(timed(action::crash_reset, i, 100ms));
  CHECK(right_run(s).faults.size() == 1);  // two must be left
}

}  // namespace p2pdvm::test
