#include "support/test.hpp"

#include <p2pdvm/runtime/joiner.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <string>
#include <vector>

namespace p2pdvm::test {
namespace {

using runtime::joiner;
using runtime::ticket;
using std::chrono::milliseconds;
using std::chrono::seconds;

node_id node(std::uint8_t number) {
  node_id id;
  id.mutable_bytes()[0] = std::byte{number};
  return id;
}

/// One joiner on a machine of its own, and what it does.
struct asking final : runtime::joiner_owner {
  asking() : clock(net.add_machine().clock()), j(*this, clock, ticket()) {
    j.add(node(1));
    j.add(node(2));
  }
  void ask_to_join(const node_id& whom, const std::optional<ticket>&) override { asked.push_back(whom); }
  void ask_by_datagram(const node_id& whom, const ticket&) override { quick.push_back(whom); }
  void look_for_members(const ticket&) override { ++searches; }
  void join_failed(const error& why) override {
    failure = why.message();
    j.pause();
  }
  sim::simulation net{sim::options()};
  host::clock& clock;
  std::vector<node_id> asked, quick;
  int searches = 0;
  std::string failure;
  joiner j;
};

using nodes = std::vector<node_id>;

TEST_CASE("a joiner asks one after another until it gives up") {
  asking a;
  a.j.ask();
  CHECK(a.asked == nodes{node(1)});
  a.net.run_for(milliseconds(2100));
  CHECK(a.asked == nodes{node(1), node(2)});
  a.net.run_for(seconds(20));
  CHECK(a.searches > 0);
  CHECK(a.failure.find("no peer of this job answers") != std::string::npos);
}

TEST_CASE("datagrams repeat the question to the one that is asked, a few times") {
  asking a;
  a.j.ask();
  CHECK(a.quick == nodes{node(1)});
  a.net.run_for(milliseconds(1900));
  CHECK(a.quick == nodes(5, node(1)));
  a.net.run_for(milliseconds(200));
  CHECK(a.quick.back() == node(2));
}

TEST_CASE("who waits in the queue of one that lives asks nobody else, and does not give up") {
  asking a;
  a.j.ask();
  for (int i = 0; i < 10; ++i) {
    a.j.wait_in_queue();
    const std::size_t quick = a.quick.size();
    a.net.run_for(milliseconds(4900));
    CHECK(a.quick.size() == quick);
    a.net.run_for(milliseconds(200));
  }
  CHECK(a.asked == nodes(11, node(1)));
  CHECK(a.failure.empty());
}

TEST_CASE("when the one that said to wait is silent or gone, another is asked") {
  asking silent;
  silent.j.ask();
  silent.j.wait_in_queue();
  silent.net.run_for(milliseconds(7100));
  CHECK(silent.asked == nodes{node(1), node(1), node(2)});
  asking gone;
  gone.j.ask();
  gone.j.wait_in_queue();
  gone.j.on_connection_lost(node(2), error(errc::closed));
  gone.j.on_connection_lost(node(1), error(errc::closed));
  gone.net.run_for(milliseconds(100));
  CHECK(gone.asked == nodes{node(1), node(2)});
  CHECK(gone.j.asked() == node(2));
}

TEST_CASE("who was welcomed is quiet until it asks the same again") {
  asking a;
  a.j.ask();
  a.j.pause();
  a.net.run_for(seconds(30));
  CHECK(a.asked == nodes{node(1)});
  CHECK(a.quick == nodes{node(1)});
  a.j.ask_again();
  CHECK(a.asked == nodes{node(1), node(1)});
  CHECK(a.quick == nodes{node(1), node(1)});
}

}  // namespace
}  // namespace p2pdvm::test
