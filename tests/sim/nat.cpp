#include "support/test.hpp"

#include <p2pdvm/sim/simulation.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <vector>

using namespace p2pdvm;
using namespace std::chrono_literals;

namespace {

using dependence = sim::nat_dependence;

sim::nat_options nat_of(dependence mapping, dependence filtering, bool hairpin = false) {
  sim::nat_options o;
  o.mapping = mapping;
  o.filtering = filtering;
  o.hairpin = hairpin;
  return o;
}

/// A socket that remembers who sent to it.
struct port final : host::datagram_handler {
  port(sim::machine& m, std::uint16_t number)
      : socket(m.network().open_datagrams(m.address().with_port(number), *this).value()) {}
  void on_datagram(const address& from, byte_view) override { heard.push_back(from); }
  void send(const address& to) const { socket->send(to, byte_vector(1)); }
  std::vector<address> heard;
  std::unique_ptr<host::datagram_socket> socket;
};

struct party final : host::stream_handler {
  void on_open() override { opened = true; }
  void on_data(byte_view bytes) override { got += bytes.size(); }
  void on_closed(const error& why) override { closed = why; }
  std::unique_ptr<host::stream> stream;
  std::size_t got = 0;
  std::optional<error> closed;
  bool opened = false;
};

struct door final : host::listen_handler {
  explicit door(sim::machine& m, std::uint16_t number)
      : listener(m.network().listen(m.address().with_port(number), *this).value()) {}
  void on_accept(std::unique_ptr<host::stream> connection) override {
    guests.emplace_back().stream = std::move(connection);
    guests.back().stream->start(guests.back());
  }
  std::deque<party> guests;
  std::unique_ptr<host::listener> listener;
};

struct internet {
  sim::machine& behind(const sim::nat_options& how) {
    sim::machine_options o;
    o.nat = world.add_nat(how);
    return world.add_machine(o);
  }
  /// Sends and waits for what comes of it.
  void exchange(const port& from, const address& to) {
    from.send(to);
    world.run_for(1s);
  }
  static sim::options quiet() {
    sim::options o;
    o.conditions = sim::network_conditions();
    return o;
  }
  sim::simulation world{quiet()};
};

}  // namespace

TEST_CASE("a machine behind a NAT has a private address and is seen by the NAT's") {
  internet net;
  sim::machine& server = net.world.add_machine();
  sim::machine& a = net.behind({});
  sim::machine& b = net.behind({});
  CHECK(a.address() == address::v4(192, 168, 0, 1, 0));
  CHECK(b.address() == a.address());  // as in any two homes
  CHECK(a.network().interfaces() == std::vector{a.address(), address::loopback(0)});
  CHECK(a.public_address() != b.public_address());
  CHECK(server.public_address() == server.address());
  port at_server(server, 9), at_a(a, 9), at_b(b, 9);
  net.exchange(at_a, server.address().with_port(9));
  REQUIRE(at_server.heard.size() == 1);
  CHECK(at_server.heard[0].ip() == a.public_address().ip());
  net.exchange(at_server, at_server.heard[0]);
  REQUIRE(at_a.heard.size() == 1);
  CHECK(at_a.heard[0] == server.address().with_port(9));
  net.exchange(at_server, a.address().with_port(9));  // private addresses mean nothing outside
  net.exchange(at_server, a.public_address().with_port(9));
  CHECK(at_a.heard.size() + at_b.heard.size() == 1);
}

TEST_CASE("machines behind one NAT share its address, are neighbours and reach one another inside") {
  internet net;
  sim::machine_options o;
  o.nat = net.world.add_nat();
  sim::machine& a = net.world.add_machine(o);
  sim::machine& b = net.world.add_machine(o);
  sim::machine& server = net.world.add_machine();
  CHECK(a.public_address() == b.public_address());
  CHECK(net.world.round_trip(a, b) == sim::latency_map::same_site);
  CHECK(net.world.round_trip(a, server) == net.world.round_trip(b, server));
  port at_a(a, 9), at_b(b, 9), at_server(server, 9);
  net.exchange(at_a, b.address().with_port(9));
  REQUIRE(at_b.heard.size() == 1);
  CHECK(at_b.heard[0] == a.address().with_port(9));
  net.exchange(at_a, server.address().with_port(9));
  net.exchange(at_b, server.address().with_port(9));
  REQUIRE(at_server.heard.size() == 2);
  CHECK(at_server.heard[0] != at_server.heard[1]);
}

TEST_CASE("a NAT maps by as much of the remote endpoint as it is told") {
  struct expected {
    dependence mapping;
    std::size_t ports;  ///< outside, for two ports of one machine and one of another
  };
  for (const expected& e : {expected{dependence::endpoint_independent, 1},
                            expected{dependence::address_dependent, 2},
                            expected{dependence::address_and_port_dependent, 3}}) {
    internet net;
    sim::machine& one = net.world.add_machine();
    sim::machine& two = net.world.add_machine();
    sim::machine& a = net.behind(nat_of(e.mapping, dependence::address_and_port_dependent));
    port first(one, 1), second(one, 2), third(two, 1), at_a(a, 9);
    std::set<address> seen;
    for (port* to : {&first, &second, &third, &first}) {
      net.exchange(at_a, to->socket->local());
      seen.insert(to->heard.back());
    }
    CHECK(seen.size() == e.ports);
  }
}

TEST_CASE("a NAT lets in by as much of the remote endpoint as it is told") {
  struct expected {
    dependence filtering;
    std::size_t passed;  ///< of the known endpoint, another port of it, and a stranger
  };
  for (const expected& e : {expected{dependence::endpoint_independent, 3},
                            expected{dependence::address_dependent, 2},
                            expected{dependence::address_and_port_dependent, 1}}) {
    internet net;
    sim::machine& one = net.world.add_machine();
    sim::machine& two = net.world.add_machine();
    sim::machine& a = net.behind(nat_of(dependence::endpoint_independent, e.filtering));
    port known(one, 1), other_port(one, 2), stranger(two, 1), at_a(a, 9);
    net.exchange(at_a, known.socket->local());
    REQUIRE(known.heard.size() == 1);
    for (const port* from : {&known, &other_port, &stranger})
      net.exchange(*from, known.heard[0]);
    CHECK(at_a.heard.size() == e.passed);
  }
}

TEST_CASE("a mapping ends when nothing leaves for its timeout, whatever comes in") {
  internet net;
  sim::machine& server = net.world.add_machine();
  sim::nat_options how;
  how.mapping_timeout = 30s;
  sim::machine& a = net.behind(how);
  port at_server(server, 9), at_a(a, 9);
  net.exchange(at_a, server.address().with_port(9));
  const address outside = at_server.heard.at(0);
  net.world.run_for(25s);
  net.exchange(at_a, server.address().with_port(9));  // refreshes
  CHECK(at_server.heard.at(1) == outside);
  net.world.run_for(25s);
  net.exchange(at_server, outside);  // does not
  CHECK(at_a.heard.size() == 1);
  net.world.run_for(10s);
  net.exchange(at_server, outside);
  CHECK(at_a.heard.size() == 1);
  net.exchange(at_a, server.address().with_port(9));
  CHECK(at_server.heard.at(2) != outside);
}

TEST_CASE("what one contact may send ends alone when the mapping is kept for another") {
  internet net;
  sim::machine& one = net.world.add_machine();
  sim::machine& two = net.world.add_machine();
  sim::nat_options how;
  how.mapping_timeout = 30s;
  sim::machine& a = net.behind(how);
  port first(one, 9), second(two, 9), at_a(a, 9);
  net.exchange(at_a, first.socket->local());
  for (int i = 0; i < 4; ++i) {
    net.world.run_for(10s);
    net.exchange(at_a, second.socket->local());
  }
  CHECK(first.heard.at(0) == second.heard.at(3));
  net.exchange(first, first.heard.at(0));
  CHECK(at_a.heard.empty());
  net.exchange(second, first.heard.at(0));
  CHECK(at_a.heard.size() == 1);
}

TEST_CASE("neighbours reach one another by the outside only when their NAT hairpins") {
  for (const bool hairpin : {false, true}) {
    internet net;
    sim::machine_options o;
    o.nat = net.world.add_nat(nat_of(dependence::endpoint_independent,
                                     dependence::endpoint_independent, hairpin));
    sim::machine& a = net.world.add_machine(o);
    sim::machine& b = net.world.add_machine(o);
    sim::machine& server = net.world.add_machine();
    port at_a(a, 9), at_b(b, 9), at_server(server, 9);
    net.exchange(at_a, server.address().with_port(9));
    net.exchange(at_b, server.address().with_port(9));
    net.exchange(at_a, at_server.heard.at(1));
    CHECK(at_b.heard.size() == (hairpin ? 1 : 0));
    if (hairpin) CHECK(at_b.heard[0] == at_server.heard.at(0));  // its outside, not its inside
  }
}

TEST_CASE("two peers punch a hole unless one of them is behind a symmetric NAT") {
  struct pair {
    dependence left, right;
    bool works;
  };
  for (const pair& p :
       {pair{dependence::endpoint_independent, dependence::endpoint_independent, true},
        pair{dependence::endpoint_independent, dependence::address_and_port_dependent, false},
        pair{dependence::address_and_port_dependent, dependence::address_and_port_dependent,
             false}}) {
    internet net;
    sim::machine& meeting = net.world.add_machine();
    constexpr auto strict = dependence::address_and_port_dependent;
    sim::machine& a = net.behind(nat_of(p.left, strict));
    sim::machine& b = net.behind(nat_of(p.right, strict));
    port at_meeting(meeting, 9), at_a(a, 9), at_b(b, 9);
    net.exchange(at_a, meeting.address().with_port(9));
    net.exchange(at_b, meeting.address().with_port(9));
    const address a_outside = at_meeting.heard.at(0);
    const address b_outside = at_meeting.heard.at(1);
    net.exchange(at_a, b_outside);
    CHECK(at_b.heard.empty());  // too early: b has sent nothing there yet
    for (int i = 0; i < 2; ++i) {
      at_a.send(b_outside);
      at_b.send(a_outside);
      net.world.run_for(1s);
    }
    CHECK((!at_a.heard.empty() && !at_b.heard.empty()) == p.works);
  }
}

TEST_CASE("a machine behind a NAT connects out, and nobody connects in unless a port is forwarded") {
  internet net;
  sim::machine& server = net.world.add_machine();
  sim::machine& home = net.behind({});
  sim::machine_options o;
  o.nat = net.world.add_nat();
  o.forwarded_ports = {80};
  sim::machine& reachable = net.world.add_machine(o);
  door at_server(server, 80), at_home(home, 80), at_reachable(reachable, 80);

  party out;
  out.stream = home.network().connect(server.address().with_port(80));
  out.stream->start(out);
  net.world.run_for(2s);
  REQUIRE(out.opened);
  REQUIRE(at_server.guests.size() == 1);
  CHECK(at_server.guests[0].stream->remote().ip() == home.public_address().ip());
  CHECK(out.stream->local().ip() == home.address().ip());
  at_server.guests[0].stream->write(byte_vector(1000));
  net.world.run_for(2s);
  CHECK(out.got == 1000);

  party in, refused, forwarded;
  const address mapped = at_server.guests[0].stream->remote();
  for (auto& [who, to] : {std::pair<party*, address>{&in, home.public_address().with_port(80)},
                          {&refused, mapped},
                          {&forwarded, reachable.public_address().with_port(80)}}) {
    who->stream = server.network().connect(to);
    who->stream->start(*who);
  }
  net.world.run_for(5s);
  CHECK(forwarded.opened);
  CHECK(at_reachable.guests.size() == 1);
  CHECK_FALSE(in.closed);  // silence
  net.world.run_for(10s);
  for (const party* p : {&in, &refused}) {
    CHECK_FALSE(p->opened);
    REQUIRE(p->closed);
    CHECK(p->closed->code() == errc::unreachable);
  }
  CHECK(at_home.guests.empty());
}

TEST_CASE("a request through a mapping whose machine does not listen there is refused at once") {
  internet net;
  sim::machine& server = net.world.add_machine();
  sim::machine& home = net.behind(
      nat_of(dependence::endpoint_independent, dependence::endpoint_independent));
  door at_server(server, 80);
  party out, in;
  out.stream = home.network().connect(server.address().with_port(80));
  out.stream->start(out);
  net.world.run_for(2s);
  REQUIRE(at_server.guests.size() == 1);
  in.stream = server.network().connect(at_server.guests[0].stream->remote());
  in.stream->start(in);
  net.world.run_for(2s);
  REQUIRE(in.closed);
  CHECK(in.closed->message().find("refused") != std::string::npos);
}

TEST_CASE("a NAT that runs out of ports takes the oldest mapping's") {
  internet net;
  sim::machine& server = net.world.add_machine();
  sim::nat_options how = nat_of(dependence::address_and_port_dependent,
                                dependence::address_and_port_dependent);
  how.mapping_timeout = 1h;
  sim::machine& a = net.behind(how);
  port at_server(server, 1), at_a(a, 9);
  net.exchange(at_a, server.address().with_port(1));
  for (std::uint32_t to = 2; to < 65'536; ++to)
    at_a.send(server.address().with_port(static_cast<std::uint16_t>(to)));
  net.world.run_for(1s);
  net.exchange(at_server, at_server.heard.at(0));
  CHECK(at_a.heard.empty());
  net.exchange(at_a, server.address().with_port(1));
  CHECK(at_server.heard.at(1) != at_server.heard.at(0));
  net.exchange(at_server, at_server.heard.at(1));
  CHECK(at_a.heard.size() == 1);
}
