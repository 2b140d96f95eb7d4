#include "make.hpp"
#include "support/test.hpp"

#include <p2pdvm/checkpoint/cut.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <memory>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;

namespace {

using record_ptr = std::shared_ptr<const job_record>;

record_ptr share(result<job_record> r) {
  REQUIRE(r.ok());
  return std::make_shared<const job_record>(std::move(*r));
}

const rank_number r0{0}, r1{1};

/// The barrier of peer 0, which hosts rank 0; rank 1 is on peer 1; peer 2 has none.
struct fixture {
  record_ptr record = share(start(make::forming(2, 3), {0, 1}));
  cut_barrier barrier{make::node(0), record};
  fixture() {
    barrier.rank_started(r0, 3);
    static_cast<void>(barrier.take_actions());
  }

  template <class T>
  std::vector<T> take() {
    std::vector<T> found;
    for (auto& action : barrier.take_actions()) {
      if (auto* a = std::get_if<T>(&action)) found.push_back(std::move(*a));
    }
    return found;
  }
  [[nodiscard]] cut_facts keyed() const {
    cut_facts f;
    f.incarnation = record->incarnation;
    f.epoch = record->next_epoch();
    return f;
  }
  cut_facts announced(std::uint64_t passed) const {
    cut_facts f = keyed();
    f.want = true;
    f.passed.push_back({r1, passed});
    return f;
  }
  cut_facts cut(std::uint64_t passed) const {
    cut_facts f = keyed();
    f.cut.push_back({r1, passed, false});
    return f;
  }
  cut_facts sealed(std::string_view content, std::string_view receipts) const {
    cut_facts f = keyed();
    f.sealed.push_back({r1, make::chunk(content), to_vector(as_bytes(receipts))});
    return f;
  }
  [[nodiscard]] result<job_record> commit_first() const {
    const auto manifests = make::manifests(*record, "x");
    return commit(*record, record->incarnation, make::epoch(1), manifests);
  }
  void learn(result<job_record> next) {
    record = share(std::move(next));
    barrier.on_record(record);
  }
};

}  // namespace

TEST_CASE("a wish is announced once, with the safe points passed, however often it is wished") {
  fixture f;
  CHECK(f.barrier.wish() == make::epoch(1));
  CHECK(f.barrier.wish() == make::epoch(1));
  REQUIRE(f.barrier.on_facts(make::node(2), [&] {
    auto facts = f.keyed();
    facts.want = true;
    return facts;
  }()).ok());
  const auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK_FALSE(sent[0].to);
  CHECK(sent[0].facts.want);
  REQUIRE(sent[0].facts.passed.size() == 1);
  CHECK(sent[0].facts.passed[0].passed == 3);
}

TEST_CASE("a rank waits only after the safe point it announced, and all cut at the same index") {
  fixture f;
  f.barrier.wish();
  REQUIRE(f.barrier.at_safe_point(r0) == verdict::wait);
  static_cast<void>(f.barrier.take_actions());
  REQUIRE(f.barrier.on_facts(make::node(1), f.announced(5)).ok());  // the cut index is 6
  const auto verdicts = f.take<cut_action::rank_verdict>();
  REQUIRE(verdicts.size() == 1);
  CHECK(verdicts[0].verdict == verdict::pass);
  CHECK(f.barrier.at_safe_point(r0) == verdict::pass);
  CHECK(f.barrier.at_safe_point(r0) == verdict::cut);
  CHECK(f.barrier.at_safe_point(r0) == verdict::pass);
  const auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  REQUIRE(sent[0].facts.cut.size() == 1);
  CHECK(sent[0].facts.cut[0].passed == 3u);
}

TEST_CASE("a cut that overtakes its announcement does not change the cut index") {
  fixture f;
  REQUIRE(f.barrier.on_facts(make::node(1), f.cut(5)).ok());
  CHECK(f.barrier.at_safe_point(r0) == verdict::pass);
  CHECK(f.barrier.at_safe_point(r0) == verdict::pass);
  CHECK(f.barrier.at_safe_point(r0) == verdict::cut);
}

TEST_CASE("a standing rank cuts at once, with or without having announced") {
  fixture f;
  CHECK(f.barrier.standing(r0) == verdict::pass);
  f.barrier.wish();
  REQUIRE(f.take<cut_action::rank_verdict>().size() == 1);
  CHECK(f.barrier.has_cut(r0));

  fixture g;
  g.barrier.wish();
  CHECK(g.barrier.standing(r0) == verdict::cut);
}

TEST_CASE("late logs close when every cut is known, and seals lead to a commit") {
  fixture f;
  REQUIRE(f.barrier.on_facts(make::node(1), f.announced(3)).ok());
  REQUIRE(f.barrier.at_safe_point(r0) == verdict::cut);
  CHECK(f.take<cut_action::close_late_log>().empty());
  REQUIRE(f.barrier.on_facts(make::node(1), f.sealed("m1", "a")).ok());
  CHECK(f.take<cut_action::close_late_log>().empty());
  REQUIRE(f.barrier.on_facts(make::node(1), f.cut(3)).ok());
  CHECK(f.take<cut_action::close_late_log>().size() == 1);
  REQUIRE(f.barrier.sealed(r0, make::epoch(1), make::chunk("m0"), {}).ok());
  auto proposals = f.take<cut_action::committable>();
  REQUIRE(proposals.size() == 1);
  CHECK(proposals[0].manifests == std::vector{make::chunk("m0"), make::chunk("m1")});
  CHECK_FALSE(proposals[0].final);
  CHECK(proposals[0].delay <= commit_stagger * 2);

  // Other receipts for the same snapshot: propose again. Another snapshot: no.
  REQUIRE(f.barrier.on_facts(make::node(1), f.sealed("m1", "b")).ok());
  proposals = f.take<cut_action::committable>();
  REQUIRE(proposals.size() == 1);
  CHECK(proposals[0].receipts[1] == to_vector(as_bytes("b")));
  REQUIRE(f.barrier.on_facts(make::node(1), f.sealed("other", "b")).ok());
  CHECK(f.take<cut_action::committable>().empty());
  CHECK(f.barrier.sealed(r0, make::epoch(1), make::chunk("x"), {}).error().code() == errc::misuse);

  f.learn(f.commit_first());
  CHECK(f.take<cut_action::committed>().size() == 1);
  CHECK(f.barrier.epoch() == make::epoch(2));
  CHECK_FALSE(f.barrier.wanted());
  CHECK(f.barrier.sealed(r0, make::epoch(1), make::chunk("late"), {}).ok());  // no effect
}

TEST_CASE("members propose a commit at different times") {
  fixture f;
  std::set<duration> delays;
  for (std::uint64_t i = 0; i < 3; ++i) {
    cut_barrier b(make::node(i), f.record);
    for (const std::uint64_t from : {0, 1}) {
      if (from == i) continue;
      cut_facts facts = f.keyed();
      facts.cut.push_back({rank_number(static_cast<std::uint32_t>(from)), 3, false});
      facts.sealed.push_back({rank_number(static_cast<std::uint32_t>(from)), {}, {}});
      REQUIRE(b.on_facts(make::node(from), facts).ok());
    }
    if (i < 2) {
      const rank_number own(static_cast<std::uint32_t>(i));
      b.rank_started(own, 3);
      REQUIRE(b.at_safe_point(own) == verdict::cut);
      REQUIRE(b.sealed(own, make::epoch(1), {}, {}).ok());
    }
    for (const auto& action : b.take_actions()) {
      if (const auto* c = std::get_if<cut_action::committable>(&action)) delays.insert(c->delay);
    }
  }
  CHECK(delays == std::set<duration>{duration(0), commit_stagger, commit_stagger * 2});
}

TEST_CASE("when all ranks have returned everybody wishes, and that epoch is final") {
  fixture f;
  CHECK(f.barrier.returned(r0) == verdict::pass);
  cut_facts facts = f.keyed();
  facts.returned = {r1};
  REQUIRE(f.barrier.on_facts(make::node(1), facts).ok());
  CHECK(f.barrier.wanted());
  CHECK(f.barrier.has_cut(r0));
  facts = f.sealed("m1", "");
  facts.cut.push_back({r1, std::nullopt, true});
  REQUIRE(f.barrier.on_facts(make::node(1), facts).ok());
  REQUIRE(f.barrier.sealed(r0, make::epoch(1), make::chunk("m0"), {}).ok());
  const auto proposals = f.take<cut_action::committable>();
  REQUIRE(proposals.size() == 1);
  CHECK(proposals[0].final);
}

TEST_CASE("an epoch that was given up releases waiting ranks") {
  fixture f;
  f.barrier.wish();
  REQUIRE(f.barrier.at_safe_point(r0) == verdict::wait);
  f.barrier.abandon(make::epoch(1), "a late log is over its limit");
  f.barrier.abandon(make::epoch(1), "again");
  CHECK(f.take<cut_action::give_up>().size() == 1);
  f.learn(raise_floor(*f.record, f.record->incarnation, make::epoch(1)));
  auto actions = f.barrier.take_actions();
  REQUIRE(actions.size() == 2);
  CHECK(std::get<cut_action::released>(actions[0]).epoch == make::epoch(1));
  CHECK(std::get<cut_action::rank_verdict>(actions[1]).verdict == verdict::pass);
  CHECK(f.barrier.epoch() == make::epoch(2));
  CHECK(f.barrier.at_safe_point(r0) == verdict::pass);
}

TEST_CASE("a held message can be the first news of a wish") {
  fixture f;
  f.barrier.abandon(make::epoch(1), "a rank needs a held message");
  CHECK(f.barrier.wanted());
  CHECK(f.take<cut_action::give_up>().size() == 1);
  f.barrier.abandon(make::epoch(2), "a rank needs a message from further ahead");
  CHECK(f.take<cut_action::need_record>().size() == 1);
}

TEST_CASE("facts from the past are ignored and answered with the record, once") {
  fixture f;
  f.learn(rollback(*f.record, f.record->incarnation));
  f.barrier.rank_started(r0, 0);
  static_cast<void>(f.barrier.take_actions());
  CHECK(f.barrier.epoch() == make::epoch(2));
  cut_facts old = f.announced(7);
  old.incarnation = make::incarnation(1);
  old.epoch = make::epoch(1);
  old.returned = {r1};
  REQUIRE(f.barrier.on_facts(make::node(1), old).ok());
  REQUIRE(f.barrier.on_facts(make::node(1), old).ok());
  const auto actions = f.barrier.take_actions();
  REQUIRE(actions.size() == 1);
  CHECK(std::get<cut_action::inform>(actions[0]).to == make::node(1));
  CHECK_FALSE(f.barrier.wanted());
  CHECK_FALSE(f.barrier.view().ranks[1].returned);
}

TEST_CASE("facts from the future wait for the record and are asked for again") {
  fixture f;
  cut_facts future = f.announced(7);
  future.epoch = make::epoch(2);
  REQUIRE(f.barrier.on_facts(make::node(1), future).ok());
  CHECK(f.take<cut_action::need_record>().size() == 1);
  CHECK_FALSE(f.barrier.wanted());
  f.learn(raise_floor(*f.record, f.record->incarnation, make::epoch(1)));
  const auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].to == make::node(1));
  CHECK(sent[0].facts.ask);
  CHECK(sent[0].facts.epoch == make::epoch(2));
}

TEST_CASE("a peer that does not host a rank cannot speak for it") {
  fixture f;
  REQUIRE(f.barrier.on_facts(make::node(2), f.announced(7)).ok());
  CHECK(f.take<cut_action::need_record>().size() == 1);
  CHECK_FALSE(f.barrier.wanted());
  CHECK_FALSE(f.barrier.view().ranks[1].announced);
}

TEST_CASE("new members and those who ask get a peer's own facts") {
  fixture f;
  f.barrier.wish();
  static_cast<void>(f.barrier.take_actions());
  f.learn(admit(*f.record, make::member_number(3)));
  auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].to == make::node(3));
  CHECK(sent[0].facts.passed.size() == 1);
  cut_facts question = f.keyed();
  question.ask = true;
  REQUIRE(f.barrier.on_facts(make::node(2), question).ok());
  sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].to == make::node(2));
  CHECK(sent[0].facts.passed.size() == 1);
}

TEST_CASE("to a member that lost what it was told, everything is said again, and it is asked") {
  fixture f;
  f.barrier.wish();
  REQUIRE(f.barrier.on_facts(make::node(1), f.cut(5)).ok());
  CHECK(f.barrier.returned(r0) == verdict::cut);
  static_cast<void>(f.barrier.take_actions());
  f.barrier.repeat_to(make::node(2));
  const auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].to == make::node(2));
  CHECK(sent[0].facts.ask);
  CHECK(sent[0].facts.want);
  CHECK(sent[0].facts.returned == std::vector{r0});
  REQUIRE(sent[0].facts.cut.size() == 1);  // of its own ranks alone
  CHECK(sent[0].facts.cut[0].rank == r0);
  f.barrier.repeat_to(make::node(7));  // no member
  CHECK(f.take<cut_action::send>().empty());
}

TEST_CASE("malformed facts are errors and change nothing") {
  fixture f;
  const byte_vector before = wire::encode(f.barrier.view());
  const rank_number far(2);
  for (int kind = 0; kind < 6; ++kind) {
    cut_facts facts = f.keyed();
    facts.want = true;
    if (kind == 0) facts.returned = {far};
    if (kind == 1) facts.passed.push_back({far, 1});
    if (kind == 2) facts.cut.push_back({far, std::nullopt, false});
    if (kind == 3) facts.sealed.push_back({far, {}, {}});
    if (kind == 4) facts.passed.push_back({r1, ~std::uint64_t{0}});
    if (kind == 5) facts.sealed.push_back({r1, {}, byte_vector(receipts_bytes_max + 1)});
    CHECK(f.barrier.on_facts(make::node(1), facts).error().code() == errc::malformed);
  }
  CHECK(wire::encode(f.barrier.view()) == before);
}

TEST_CASE("an adapter whose traffic carries the wish cuts all ranks together without waiting") {
  fixture f;
  CHECK(f.barrier.carried_wish() == epoch_number());
  CHECK(f.barrier.wish_quietly() == make::epoch(1));
  CHECK(f.barrier.take_actions().empty());
  CHECK(f.barrier.carried_wish() == make::epoch(1));
  CHECK(f.barrier.reached_together(r0, make::epoch(1)) == verdict::cut);
  const auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  REQUIRE(sent[0].facts.cut.size() == 1);
  CHECK(sent[0].facts.cut[0].passed == 3u);
  CHECK(f.barrier.reached_together(r0, make::epoch(1)) == verdict::pass);
  CHECK(f.barrier.reached_together(r0, {}) == verdict::pass);
}

TEST_CASE("a carried wish ahead of the record holds the rank until the record is there") {
  fixture f;
  CHECK(f.barrier.reached_together(r0, make::epoch(2)) == verdict::wait);
  CHECK(f.take<cut_action::need_record>().size() == 1);
  f.learn(raise_floor(*f.record, f.record->incarnation, make::epoch(1)));
  const auto verdicts = f.take<cut_action::rank_verdict>();
  REQUIRE(verdicts.size() == 1);
  CHECK(verdicts[0].verdict == verdict::cut);
  CHECK(verdicts[0].epoch == make::epoch(2));
  CHECK(f.barrier.has_cut(r0));
}

TEST_CASE("a leaving peer freezes in the first epoch that its ranks have not cut") {
  fixture f;
  CHECK(f.barrier.leaving_epoch() == make::epoch(1));
  REQUIRE(f.barrier.on_facts(make::node(1), f.announced(3)).ok());
  REQUIRE(f.barrier.at_safe_point(r0) == verdict::cut);
  CHECK(f.barrier.leaving_epoch() == make::epoch(2));
  CHECK(f.barrier.wish(make::epoch(2)) == make::epoch(2));
  static_cast<void>(f.barrier.take_actions());
  f.barrier.freeze(r0, true);
  f.learn(f.commit_first());
  CHECK(f.barrier.wanted());
  auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].facts.want);
  CHECK(sent[0].facts.passed.empty());
  f.barrier.freeze(r0, false);
  sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].facts.passed.size() == 1);
}

TEST_CASE("a rank that moved announces on its new host what it had announced on the old one") {
  fixture f;
  f.learn(move_ranks(*f.record, f.record->incarnation, make::epoch(0), {0, 0}, {make::node(1)}));
  f.barrier.wish();
  static_cast<void>(f.barrier.take_actions());
  f.barrier.rank_started(r1, 4);
  const auto sent = f.take<cut_action::send>();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].facts.passed[0].passed == 4);
  CHECK(f.barrier.at_safe_point(r0) == verdict::pass);
  CHECK(f.barrier.at_safe_point(r0) == verdict::cut);
  f.barrier.rank_removed(r1);
  CHECK(f.barrier.view().ranks[1].announced == 4u);
}
