/// Jobs whose peers go and come back as a session model says.
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/simulated_churn.hpp>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

struct ending {
  std::string digest;
  std::size_t departures = 0, returns = 0;
  std::uint64_t events = 0;
};

ending run_with(const char* sessions, duration pause, std::uint64_t seed = 7) {
  const peal::program program = small_program(halo);
  simulated_cluster::options how = cluster_of(5, 4, 500);
  how.network.seed = seed;
  simulated_cluster cluster(program, how);
  auto model = sim::session_model::parse(sessions);
  REQUIRE(model.ok());
  model->pause = pause;
  const runtime::simulated_churn churn(cluster, *model, how.job.replicas, seed);
  const auto any_result = [&] {
    for (std::size_t i = 0; i < cluster.size(); ++i)
      if (cluster.outcome(i) && cluster.outcome(i)->ok()) return true;
    return false;
  };
  REQUIRE(cluster.run_until(any_result, 30min));
  ending e;
  for (std::size_t i = 0; i < cluster.size(); ++i)
    if (const auto& o = cluster.outcome(i); o && o->ok()) e.digest = runtime::digest_of(**o).hex();
  e.departures = churn.departures();
  e.returns = churn.returns();
  e.events = cluster.digest();
  return e;
}

TEST_CASE("a job whose peers come and go all the time ends as one whose peers stay") {
  const ending still = run_with("stable", 0s);
  CHECK(still.departures == 0);
  for (const char* sessions : {"exponential:1s", "heavy-tailed:1s", "mixed:0.5s"}) {
    INFO(sessions);
    const ending e = run_with(sessions, 500ms);
    CHECK(e.departures >= 2);
    CHECK(e.returns >= 1);
    CHECK(e.digest == still.digest);
    CHECK(run_with(sessions, 500ms).events == e.events);
  }
}

TEST_CASE("peers that come back at once have lost nothing of a job but time") {
  const ending e = run_with("exponential:1s", 0s);
  CHECK(e.departures >= 3);
  CHECK(e.returns >= e.departures - 1);
  CHECK(e.digest == run_with("stable", 0s).digest);
}

}  // namespace
}  // namespace p2pdvm::test
