/// Somebody on the path repeats what a peer's earlier process sent, in simulated runs.
#include "runtime/cluster.hpp"

#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/runtime/job_messages.hpp>
#include <p2pdvm/wire/codec.hpp>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// As an earlier process of `who` would have sent them: news of a member in good health.
byte_vector sign_of_life(link::datagram_sealer& earlier, const crypto::identity& to) {
  overlay::detector_message m;
  m.what = overlay::detector_message::kind::gossip;
  byte_vector plain{runtime::datagram_kind::detector};
  append(plain, wire::encode(m));
  return to_vector(earlier.seal(to.key(), plain).value());
}

TEST_CASE("replays of an earlier process do not keep a dead member alive", "[promises]") {
  const auto program = small_program(supersteps);
  observed_cluster world(program, cluster_of(3, 6, 200));
  REQUIRE(world.run_to(event_kind::committed));
  const crypto::identity victim(world->at(2).identity().seed());
  link::datagram_sealer earlier(victim, link::swarm_id(), 77);
  struct nobody final : host::datagram_handler {
    void on_datagram(const address&, byte_view) override {}
  } ignores;
  sim::machine& observer = world->network().add_machine();
  auto socket = observer.network().open_datagrams(observer.address().with_port(4000), ignores);
  REQUIRE(socket.ok());
  world.crash(2, sim::crash_mode::silent);
  // Nothing but datagrams tells of the death before a connection has been silent for so long.
  const time_point silent_too_long =
      world->network().now() + messaging::exchange_options().silence_max;
  const auto evicted = [&] { return world.count(event_kind::evicted) > 0; };
  while (!evicted() && world->network().now() < silent_too_long) {
    for (const std::size_t to : {0u, 1u}) {
      (*socket)->send(world->machine(to).address().with_port(4000),
                      sign_of_life(earlier, world->at(to).identity()));
    }
    (void)world->run_until(evicted, 50ms);
  }
  CHECK(world->network().now() < silent_too_long);
}

}  // namespace
}  // namespace p2pdvm::test
