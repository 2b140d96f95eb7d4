#include "runtime/programs.hpp"
#include "support/test.hpp"

#include <p2pdvm/runtime/job_folder.hpp>
#include <p2pdvm/runtime/peer.hpp>
#include <p2pdvm/runtime/ticket.hpp>
#include <p2pdvm/sim/simulation.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace p2pdvm::test {
namespace {

using runtime::ticket;

crypto::identity identity_of(std::uint8_t number) {
  crypto::secret_key seed;
  seed.mutable_bytes()[0] = std::byte{number};
  return crypto::identity(seed);
}

ticket some_ticket() {
  const crypto::identity issuer = identity_of(1);
  ticket t;
  t.uses = 3;
  t.expiry = 2000;
  t.serial = 42;
  t.contacts.push_back({issuer.key(), {*address::parse("10.1.2.3:4000")}});
  t.sign(issuer);
  return t;
}

TEST_CASE("a ticket comes back from its text, and its signature holds") {
  const ticket t = some_ticket();
  const auto back = ticket::parse(t.text() + "\n");
  REQUIRE(back.ok());
  CHECK(back->uses == 3);
  CHECK(back->serial == 42);
  CHECK(back->contacts.size() == 1);
  CHECK(back->check(1999).ok());
  CHECK(back->text() == t.text());
}

TEST_CASE("a ticket that anybody changed is refused") {
  ticket t = some_ticket();
  t.uses = 1000;
  REQUIRE_FALSE(t.check(0).ok());
  CHECK(t.check(0).error().code() == errc::authentication);
  ticket forged = some_ticket();
  forged.issuer = identity_of(2).key();
  CHECK_FALSE(forged.check(0).ok());
}

TEST_CASE("every mistyped or shortened ticket is refused in a sentence") {
  const std::string text = some_ticket().text();
  for (std::size_t i = 8; i < text.size(); ++i) {
    std::string typo = text;
    typo[i] = typo[i] == 'a' ? 'b' : 'a';
    const auto parsed = ticket::parse(typo);
    if (parsed.ok()) CHECK(parsed->text() == text);  // an unused last bit, say
  }
  for (std::size_t n = 0; n < text.size(); ++n) CHECK_FALSE(ticket::parse(text.substr(0, n)).ok());
  CHECK(ticket::parse("").error().message().find("not a whole ticket") != std::string::npos);
}

TEST_CASE("a ticket ends with its date, and says so") {
  const auto late = some_ticket().check(2000 + 300);
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code() == errc::expired);
  CHECK(late.error().message().find("expired 5 minutes ago") != std::string::npos);
}

TEST_CASE("a ticket of another version names the one that is read") {
  std::string text = some_ticket().text();
  text[6] = '9';
  const auto parsed = ticket::parse(text);
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.error().code() == errc::unsupported_version);
  CHECK(parsed.error().message().find("p2pdvm1-") != std::string::npos);
}

/// One peer on one simulated machine, with a setting of its own.
class lone_peer {
 public:
  lone_peer(sim::simulation& net, const peal::program& program,
            const std::function<void(runtime::peer_setting&)>& change = nullptr,
            const std::function<void(host::machine&)>& before = nullptr)
      : machine_(net.add_machine()) {
    const std::lock_guard lock(token_);
    if (before) before(machine_);
    runtime::peer_setting setting;
    setting.listen = machine_.address().with_port(4000);
    setting.failure_domain = machine_.name();
    if (change) change(setting);
    runtime::peer::callbacks call;
    call.event = [](const runtime::event&) {};
    call.ended = [this](const result<runtime::job_results>& r) { outcome = r; };
    call.may_go = [] {};
    peer_ = std::make_unique<runtime::peer>(machine_, ranks_, token_, program, setting, call);
    opened_ = peer_->open().ok();
  }
  ~lone_peer() {
    const std::lock_guard lock(token_);
    peer_.reset();
  }
  runtime::peer* operator->() { return peer_.get(); }
  template <class F>
  auto locked(F f) {
    const std::lock_guard lock(token_);
    return f(*peer_);
  }
  [[nodiscard]] bool opened() const { return opened_; }
  [[nodiscard]] bool is_member() {
    return locked([](runtime::peer& p) { return p.current_job() && p.current_job()->is_member(); });
  }
  void crash() { machine_.crash(); }
  [[nodiscard]] std::string refusal() const {
    return outcome && !outcome->ok() ? outcome->error().message() : std::string();
  }

  std::optional<result<runtime::job_results>> outcome;

 private:
  sim::machine& machine_;
  queue_context ranks_;
  driver_token token_;
  bool opened_ = false;
  std::unique_ptr<runtime::peer> peer_;
};

/// A maker that waits for more peers than will come.
struct forming_job {
  forming_job() : net(options()), program(small_program(halo)), maker(net, program) {
    runtime::peer::job_request request;
    request.ranks = 2;
    request.peers = 9;
    request.options = {{"steps", "1"}, {"cells", "4"}};
    REQUIRE(maker.opened());
    REQUIRE(maker.locked([&](runtime::peer& p) { return p.make_job(request).ok(); }));
    net.run_for(std::chrono::seconds(1));
  }
  static sim::options options() {
    sim::options how;
    how.seed = 7;
    return how;
  }
  ticket pass(std::uint32_t uses = 0) {
    return maker.locked([&](runtime::peer& p) { return p.make_ticket(uses).value(); });
  }
  /// Why `who` may not join, or nothing when it became a member.
  std::string join(lone_peer& who, const ticket& with) {
    const auto asked = who.locked([&](runtime::peer& p) { return p.join(with); });
    if (!asked.ok()) return asked.error().message();
    net.run_for(std::chrono::seconds(20));
    return who.refusal();
  }

  sim::simulation net;
  peal::program program;
  lone_peer maker;
};

TEST_CASE("a joiner with a good ticket becomes a member") {
  forming_job job;
  lone_peer joiner(job.net, job.program);
  CHECK(job.join(joiner, job.pass()).empty());
  CHECK(job.maker->current_job()->record().live_count() == 2);
}

TEST_CASE("a joiner with another build of the program is refused") {
  forming_job job;
  lone_peer joiner(job.net, job.program, [](runtime::peer_setting& s) {
    s.executable = crypto::hash(as_bytes("another build"));
  });
  CHECK(job.join(joiner, job.pass()).find("another build") != std::string::npos);
  CHECK(job.maker->current_job()->record().live_count() == 1);
}

TEST_CASE("a joiner that computes otherwise is refused") {
  forming_job job;
  lone_peer joiner(job.net, job.program, [](runtime::peer_setting& s) { s.platform = 99; });
  CHECK(job.join(joiner, job.pass()).find("your platform") != std::string::npos);
}

TEST_CASE("a ticket of another job is refused, and so is one that another peer signed") {
  forming_job job;
  ticket other = job.pass();
  other.job = job_id();
  const crypto::identity stranger = identity_of(5);
  other.sign(stranger);
  lone_peer one(job.net, job.program);
  CHECK(job.join(one, other).find("does not work on that job") != std::string::npos);
  ticket own = job.pass();
  own.sign(stranger);
  lone_peer two(job.net, job.program);
  CHECK(job.join(two, own).find("not one of this job's maker") != std::string::npos);
  CHECK(job.maker->current_job()->record().live_count() == 1);
}

TEST_CASE("a ticket admits no more machines than it says") {
  forming_job job;
  const ticket once = job.pass(1);
  lone_peer first(job.net, job.program);
  lone_peer second(job.net, job.program);
  CHECK(job.join(first, once).empty());
  CHECK(job.join(second, once).find("used up") != std::string::npos);
  CHECK(job.maker->current_job()->record().live_count() == 2);
}

TEST_CASE("a joiner whom nobody answers says where it asked") {
  forming_job job;
  ticket nowhere = job.pass();
  nowhere.contacts.resize(1);
  nowhere.contacts[0].addresses = {*address::parse("10.99.99.99:4000")};
  nowhere.contacts[0].key = identity_of(9).key();
  nowhere.sign(identity_of(9));
  lone_peer joiner(job.net, job.program);
  CHECK(job.join(joiner, nowhere).find("10.99.99.99:4000") != std::string::npos);
}

TEST_CASE("a job whose ticket names only the dead is found through a peer remembered on disk") {
  forming_job job;
  const ticket with = job.pass();
  std::vector<std::unique_ptr<lone_peer>> members;
  for (int i = 0; i < 3; ++i) {
    members.push_back(std::make_unique<lone_peer>(job.net, job.program));
    REQUIRE(job.join(*members.back(), with).empty());
  }
  job.maker.crash();
  job.net.run_for(std::chrono::seconds(30));
  const messaging::contact friend_of_old = members[2]->locked([](runtime::peer& p) { return p.own_contact(); });
  lone_peer joiner(job.net, job.program, nullptr, [&](host::machine& machine) {
    auto log = store::segment_log::open(machine.disk(), "store", {});
    REQUIRE(log.ok());
    runtime::job_folder(machine.disk(), **log).keep_contacts({friend_of_old});
    (*log)->sync([](const result<>&) {});
    job.net.run_for(std::chrono::seconds(1));
  });
  CHECK(job.join(joiner, with).empty());
  CHECK(joiner.is_member());
  CHECK(members[0]->is_member());

  lone_peer lonely(job.net, job.program);
  CHECK(job.join(lonely, with).find("no peer of this job answers") != std::string::npos);
}

/// Answers whoever asks to be let in with a welcome of its own making.
class false_host final : public messaging::exchange_handler {
 public:
  /// Gets a good welcome and a record of the same job with more ranks.
  using falsification = void (*)(runtime::welcome&, const runtime::record_update&);
  false_host(sim::simulation& net, falsification falsify)
      : machine_(net.add_machine()), self_(identity_of(66)), exchange_(machine_, self_, {}, *this) {
    REQUIRE(exchange_.listen(machine_.address().with_port(4000)).ok());
    runtime::job_spec& spec = answer_.spec;
    spec.program = small_program(halo).name();
    spec.issuer = self_.key();
    spec.options = {{"steps", "1"}, {"cells", "4"}};
    spec.id = spec.derived_id();
    checkpoint::member founder;
    founder.node = self_.id();
    founder.addresses = {machine_.address().with_port(4000)};
    const auto found = [&](std::uint32_t ranks) {
      auto first = checkpoint::found_job(spec.id, crypto::hash(wire::encode(spec)), ranks, 3, founder);
      checkpoint::acceptor keeper(spec.id, self_);
      byte_vector persist;
      const auto known = keeper.found(std::move(*first), persist);
      return runtime::record_update{*known.record, known.proof, {}};
    };
    answer_.newest = found(spec.ranks);
    falsify(answer_, found(spec.ranks + 1));
  }
  ticket pass() {
    ticket t;
    t.job = answer_.spec.id;
    t.expiry = machine_.clock().wall() + 1000;
    t.contacts = {{self_.key(), {machine_.address().with_port(4000)}}};
    t.sign(self_);
    return t;
  }
  void on_message(const node_id& from, std::uint8_t channel,
                  messaging::arrived_message message) override {
    auto decoded = wire::decode<runtime::job_message>(message.view);
    if (channel != runtime::channel::job || !decoded.ok()) return;
    const auto* request = std::get_if<runtime::join_request>(&*decoded);
    if (request == nullptr || request->is_ready) return;
    ++asked;
    exchange_.send(from, runtime::channel::job, wire::encode(runtime::job_message(answer_)));
  }
  int asked = 0;

 private:
  sim::machine& machine_;
  crypto::identity self_;
  runtime::welcome answer_;
  messaging::exchange exchange_;
};

TEST_CASE("a welcome that does not fit its ticket or its own record is refused") {
  const peal::program program = small_program(halo);
  const auto outcome = [&](false_host::falsification falsify) {
    sim::simulation net(forming_job::options());
    false_host host(net, falsify);
    lone_peer joiner(net, program);
    const auto asked = joiner.locked([&](runtime::peer& p) { return p.join(host.pass()); });
    REQUIRE(asked.ok());
    net.run_for(std::chrono::seconds(5));
    REQUIRE(host.asked > 0);
    const bool took = joiner.locked([](runtime::peer& p) { return p.current_job() != nullptr; });
    return took ? std::string("took it") : joiner.refusal();
  };
  using runtime::record_update;
  using runtime::welcome;
  CHECK(outcome([](welcome&, const record_update&) {}) == "took it");
  CHECK(outcome([](welcome& w, const record_update& more_ranks) { w.newest = more_ranks; })
            .find("the record of another job") != std::string::npos);
  CHECK(outcome([](welcome& w, const record_update&) { w.spec.options["steps"] = "2"; })
            .find("not the specification of the job") != std::string::npos);
}

}  // namespace
}  // namespace p2pdvm::test
