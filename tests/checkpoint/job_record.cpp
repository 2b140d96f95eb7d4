#include "make.hpp"
#include "support/test.hpp"

#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;

TEST_CASE("a founded job has one member, who is its only keeper") {
  const job_record r = make::forming(4, 1);
  CHECK(r.validate().ok());
  CHECK(r.keepers == std::vector{make::node(0)});
  CHECK(r.incarnation == make::incarnation(1));
  CHECK(r.next_epoch() == make::epoch(1));
  CHECK_FALSE(r.needs_upkeep());
  CHECK_FALSE(found_job(make::job(), {}, 0, 3, make::member_number(0)).ok());
}

TEST_CASE("the number of keepers follows the number of members: odd and at most five") {
  const std::size_t expected[] = {1, 1, 3, 3, 5, 5, 5};
  for (std::uint64_t members = 1; members <= 7; ++members)
    CHECK(make::forming(4, members).keepers.size() == expected[members - 1]);
}

TEST_CASE("a change of keepers passes through a record that names both sets") {
  const job_record two = *admit(make::forming(4, 2), make::member_number(2));
  CHECK(two.previous_keepers.empty());
  const job_record three = *upkeep(two);
  CHECK(three.previous_keepers == two.keepers);
  CHECK(three.keepers.size() == 3);
  CHECK(three.keeper_version == two.keeper_version + 1);
  CHECK(check_keeper_step(two, three).ok());
  const job_record four = *admit(three, make::member_number(3));
  CHECK(four.previous_keepers.empty());
  CHECK(four.keepers == three.keepers);
  CHECK(four.keeper_version == three.keeper_version + 1);
  CHECK(check_keeper_step(three, four).ok());
  CHECK_FALSE(check_keeper_step(two, four).ok());
  job_record abrupt = two;
  abrupt.keepers = {make::node(1)};
  CHECK_FALSE(check_keeper_step(two, abrupt).ok());
}

TEST_CASE("many are admitted at once, but those who are members, and none is a keeper at once") {
  const job_record one = make::forming(4, 1);
  const std::vector<member> joiners{make::member_number(1), make::member_number(0),
                                    make::member_number(2), make::member_number(3)};
  const job_record four = *admit(one, joiners);
  CHECK(four.live_count() == 4);
  CHECK(four.roster == one.roster.next());
  CHECK(four.keepers == one.keepers);
  CHECK(four.previous_keepers.empty());
  CHECK(four.needs_upkeep());
  CHECK(upkeep(four)->keepers.size() == 3);
  CHECK(admit(four, joiners).error().code() == errc::conflict);
  CHECK(admit(four, std::vector<member>()).error().code() == errc::conflict);
}

TEST_CASE("who may not know yet that it is a member is made no keeper, and stays one if it is") {
  const job_record four = *admit(make::forming(4, 1), std::vector<member>{make::member_number(1), make::member_number(2), make::member_number(3)});
  const std::set<node_id> all{make::node(1), make::node(2), make::node(3)};
  CHECK(upkeep(four, all).error().code() == errc::conflict);
  CHECK(upkeep(four, {make::node(1), make::node(2)}).error().code() == errc::conflict);  // two could be keepers: one is
  const job_record begun = *upkeep(four, {make::node(1)});
  CHECK(begun.keepers == std::vector{make::node(0), make::node(2), make::node(3)});
  const job_record ended = *upkeep(begun, all);
  CHECK(ended.previous_keepers.empty());
  CHECK(ended.keepers == begun.keepers);
  CHECK(upkeep(ended, all).error().code() == errc::conflict);
}

TEST_CASE("keepers are taken from different failure domains while there are some") {
  job_record r = *found_job(make::job(), {}, 4, 3, make::member_of(make::identity(0), "a"));
  r = *admit(r, make::member_of(make::identity(1), "a"));
  r = *admit(r, make::member_of(make::identity(2), "b"));
  r = *admit(r, make::member_of(make::identity(3), "c"));
  r = *evict(r, {make::node(1)});
  r = *admit(r, make::member_of(make::identity(4), "a"));
  while (r.needs_upkeep()) r = *upkeep(r);
  REQUIRE(r.keepers.size() == 3);
  std::set<std::string> domains;
  for (const node_id& keeper : r.keepers) domains.insert(r.find(keeper)->failure_domain);
  CHECK(domains.size() == 3);
}

TEST_CASE("ranks start in even blocks, on spares only when there is nobody else") {
  job_record r = *found_job(make::job(), {}, 7, 3, make::member_number(0));
  r = *admit(r, make::member_number(1));
  r = *admit(r, make::member_number(2, member::spare));
  r = *admit(r, make::member_number(3, member::storage_only));
  const job_record running = *start(r);
  CHECK(running.host_of_rank == std::vector<std::uint32_t>{0, 0, 0, 0, 1, 1, 1});
  CHECK(start(running).error().code() == errc::conflict);
  CHECK_FALSE(start(r, {0, 0, 0, 0, 0, 0, 3}).ok());
  CHECK_FALSE(start(r, {0, 0}).ok());
  CHECK(start(r, {2, 2, 2, 2, 2, 2, 2}).ok());

  const job_record lone =
      *found_job(make::job(), {}, 2, 3, make::member_number(0, member::storage_only));
  CHECK_FALSE(start(lone).ok());
  CHECK(start(*admit(lone, make::member_number(1, member::spare))).ok());
}

TEST_CASE("more members than ranks leaves the last ones without ranks") {
  const job_record r = make::running(3, 8);
  CHECK(r.host_of_rank == std::vector<std::uint32_t>{0, 1, 2});
}

TEST_CASE("eviction moves ranks to spares first and rolls back") {
  const job_record r = make::running(4, 6);  // members 4 and 5 host nothing
  const job_record after = *evict(r, {make::node(1), make::node(2), make::node(3)});
  CHECK(after.incarnation == r.incarnation.next());
  CHECK(after.roster == r.roster.next());
  CHECK(after.host_of_rank == std::vector<std::uint32_t>{0, 4, 5, 0});
  CHECK(after.floor == r.next_epoch());
  CHECK(after.next_epoch() == r.next_epoch().next());
  CHECK_FALSE(after.is_live(make::node(1)));
  for (const node_id& keeper : after.keepers) CHECK(after.is_live(keeper));
  CHECK(after.keepers.size() == 3);
  CHECK(evict(after, {make::node(1)}).error().code() == errc::conflict);
}

TEST_CASE("evicting a member without ranks does not roll back") {
  const job_record r = make::running(2, 4);
  const job_record after = *evict(r, {make::node(3)});
  CHECK(after.incarnation == r.incarnation);
  CHECK(after.floor == r.floor);
  CHECK(after.roster == r.roster.next());
  CHECK(after.host_of_rank == r.host_of_rank);
}

TEST_CASE("a job whose last host is lost waits for another one") {
  job_record r = *found_job(make::job(), {}, 2, 3, make::member_number(0));
  r = *admit(r, make::member_number(1, member::storage_only));
  r = *start(r);
  CHECK(evict(r, {make::node(0)}).error().code() == errc::lost);
  r = *admit(r, make::member_number(2));
  CHECK(evict(r, {make::node(0)}).ok());
  CHECK_FALSE(evict(r, {make::node(0), make::node(1), make::node(2)}).ok());
}

TEST_CASE("an evicted member comes back into its old place") {
  job_record r = *evict(make::running(4, 3), {make::node(1)});
  const std::size_t size = r.members.size();
  CHECK(admit(r, make::member_number(2)).error().code() == errc::conflict);
  r = *admit(r, make::member_number(1, member::left | member::spare));
  CHECK(r.members.size() == size);
  CHECK(r.is_live(make::node(1)));
  CHECK(r.find(make::node(1))->flags == member::spare);
  CHECK(r.ranks_of(make::node(1)).empty());
}

TEST_CASE("only the outstanding epoch of the present incarnation commits") {
  const job_record r = make::running(3, 3);
  const auto m = make::manifests(r, "one");
  const job_record one = *commit(r, r.incarnation, make::epoch(1), m);
  CHECK(one.committed == epoch_manifests{make::epoch(1), m});
  CHECK(one.roster == r.roster);
  CHECK(commit(one, r.incarnation, make::epoch(1), m).error().code() == errc::conflict);
  CHECK(commit(r, r.incarnation, make::epoch(2), m).error().code() == errc::conflict);
  CHECK(commit(r, r.incarnation.next(), make::epoch(1), m).error().code() == errc::conflict);
  CHECK_FALSE(commit(r, r.incarnation, make::epoch(1), {m[0]}).ok());
  const job_record two = *commit(one, r.incarnation, make::epoch(2), make::manifests(r, "two"));
  CHECK(two.previous == one.committed);
}

TEST_CASE("of a commit and a raised floor the first wins") {
  const job_record r = make::running(3, 3);
  const auto m = make::manifests(r, "one");
  const job_record given_up = *raise_floor(r, r.incarnation, make::epoch(1));
  CHECK(commit(given_up, r.incarnation, make::epoch(1), m).error().code() == errc::conflict);
  CHECK(given_up.next_epoch() == make::epoch(2));
  CHECK(commit(given_up, r.incarnation, make::epoch(2), m).ok());
  const job_record committed = *commit(r, r.incarnation, make::epoch(1), m);
  CHECK(raise_floor(committed, r.incarnation, make::epoch(1)).error().code() == errc::conflict);
  CHECK(raise_floor(r, r.incarnation, make::epoch(2)).error().code() == errc::conflict);
}

TEST_CASE("a rollback gives up what was outstanding and keeps the members") {
  const job_record r = make::running(3, 3);
  const job_record back = *rollback(r, r.incarnation);
  CHECK(back.incarnation == r.incarnation.next());
  CHECK(back.members == r.members);
  CHECK(back.next_epoch() == make::epoch(2));
  CHECK(rollback(back, r.incarnation).error().code() == errc::conflict);
  CHECK_FALSE(rollback(make::forming(3, 3), make::incarnation(1)).ok());
}

TEST_CASE("from a checkpoint that cannot be read the job falls back to the one before") {
  job_record r = make::running(3, 3);
  CHECK(fall_back(r, r.incarnation, make::epoch(0)).error().code() == errc::lost);
  r = *commit(r, r.incarnation, make::epoch(1), make::manifests(r, "one"));
  CHECK(fall_back(r, r.incarnation, make::epoch(1)).error().code() == errc::lost);
  r = *commit(r, r.incarnation, make::epoch(2), make::manifests(r, "two"));
  const job_record back = *fall_back(r, r.incarnation, make::epoch(2));
  CHECK(back.committed == r.previous);
  CHECK(back.previous.epoch == make::epoch(0));
  CHECK(back.incarnation == r.incarnation.next());
  CHECK(back.next_epoch() == make::epoch(4));  // 2 was committed, 3 was outstanding
  CHECK(fall_back(r, make::incarnation(7), make::epoch(2)).error().code() == errc::conflict);
  CHECK(fall_back(back, back.incarnation, make::epoch(2)).error().code() == errc::conflict);
  CHECK(fall_back(back, back.incarnation, make::epoch(1)).error().code() == errc::lost);
}

TEST_CASE("a job that goes on from another's state begins with its checkpoint") {
  const job_record old = make::running(3, 2);
  const epoch_manifests base{make::epoch(7), make::manifests(old, "seven")};
  const auto found = found_job_at(make::job(), old.specification, 3, 3, make::member_number(5), base);
  REQUIRE(found.ok());
  const job_record r = *start(*found);
  CHECK(r.committed == base);
  CHECK(r.next_epoch() == make::epoch(8));
  CHECK(r.keepers == std::vector{make::node(5)});
  CHECK(r.ranks_of(make::node(5)).size() == 3);
  CHECK_FALSE(found_job_at(make::job(), old.specification, 4, 3, make::member_number(5), base).ok());
}

TEST_CASE("a polite leave changes hosts without a rollback") {
  const job_record r =
      *commit(make::running(4, 3), make::incarnation(1), make::epoch(1),
              make::manifests(make::running(4, 3), "one"));
  std::vector<std::uint32_t> placement = r.host_of_rank;
  std::replace(placement.begin(), placement.end(), 1u, 2u);
  const job_record after =
      *move_ranks(r, r.incarnation, make::epoch(1), placement, {make::node(1)});
  CHECK(after.incarnation == r.incarnation);
  CHECK(after.roster == r.roster.next());
  CHECK((after.find(make::node(1))->flags & member::left) != 0);
  CHECK(after.needs_upkeep());
  CHECK(move_ranks(r, r.incarnation, make::epoch(0), placement, {}).error().code() ==
        errc::conflict);
  CHECK_FALSE(move_ranks(r, r.incarnation, make::epoch(1), r.host_of_rank, {make::node(1)}).ok());
}

TEST_CASE("ranks that are spread begin again, all together, from the committed epoch") {
  const job_record r = *admit(make::running(4, 2), make::member_number(2));
  const std::vector<std::uint32_t> placement{0, 0, 1, 2};
  const job_record after = *spread_ranks(r, r.incarnation, r.committed.epoch, placement);
  CHECK(after.incarnation == r.incarnation.next());
  CHECK(after.floor == r.next_epoch());  // whatever was under way is given up
  CHECK(after.host_of_rank == placement);
  CHECK(after.live_count() == 3);
  CHECK(after.roster == r.roster.next());
  CHECK_FALSE(spread_ranks(after, r.incarnation, r.committed.epoch, r.host_of_rank).ok());
  CHECK(spread_ranks(r, r.incarnation, r.next_epoch(), placement).error().code() == errc::conflict);
  CHECK(spread_ranks(r, r.incarnation, r.committed.epoch, r.host_of_rank).error().code() == errc::conflict);
  CHECK_FALSE(spread_ranks(r, r.incarnation, r.committed.epoch, {0, 0, 1, 3}).ok());
  CHECK_FALSE(spread_ranks(r, r.incarnation, r.committed.epoch, {0, 0, 1}).ok());
}

TEST_CASE("finish and fail end a job for good") {
  const job_record r = make::running(2, 3);
  const job_record done =
      *finish(r, r.incarnation, make::epoch(1), make::manifests(r, "results"));
  CHECK(done.state == job_state::done);
  CHECK(admit(done, make::member_number(9)).error().code() == errc::refused);
  CHECK_FALSE(fail(done, "rank 1: too late").ok());
  CHECK(evict(done, {make::node(2)}).ok());
  CHECK(evict(done, {make::node(1)})->incarnation == done.incarnation);
  const job_record failed = *fail(r, "rank 1: out of range");
  CHECK(failed.state == job_state::failed);
  CHECK(failed.failure == "rank 1: out of range");
  CHECK_FALSE(commit(failed, r.incarnation, make::epoch(1), make::manifests(r, "x")).ok());
}

TEST_CASE("an overridden job goes on with its survivor under another id") {
  const job_record r = make::running(4, 3);
  const job_id other(crypto::hash(as_bytes("other")).bytes().first(16));
  const job_record alone = *override_job(r, other, make::node(2));
  CHECK(alone.job == other);
  CHECK(alone.keepers == std::vector{make::node(2)});
  CHECK(alone.live_count() == 1);
  CHECK(alone.ranks_of(make::node(2)).size() == 4);
  CHECK_FALSE(override_job(r, r.job, make::node(2)).ok());
  CHECK_FALSE(override_job(r, other, make::node(7)).ok());
}

TEST_CASE("a record round-trips, and its digest tells records apart") {
  const job_record r = make::running(5, 4);
  const byte_vector bytes = wire::encode(r);
  const auto back = decode_record(bytes);
  REQUIRE(back.ok());
  CHECK(*back == r);
  CHECK(back->digest() == r.digest());
  CHECK(r.digest() != rollback(r, r.incarnation)->digest());
}

TEST_CASE("records with anything out of range are refused") {
  const job_record good = make::running(4, 3);
  const auto refused = [&](auto change) {
    job_record r = good;
    change(r);
    return !decode_record(wire::encode(r)).ok();
  };
  CHECK_FALSE(refused([](job_record&) {}));
  CHECK(refused([](job_record& r) { r.host_of_rank[2] = 3; }));
  CHECK(refused([](job_record& r) { r.host_of_rank.pop_back(); }));
  CHECK(refused([](job_record& r) { r.keepers.pop_back(); }));
  CHECK(refused([](job_record& r) { r.keepers[0] = make::node(9); }));
  CHECK(refused([](job_record& r) { r.keepers[0] = r.keepers[1]; }));
  CHECK(refused([](job_record& r) { r.members[1] = r.members[0]; }));
  CHECK(refused([](job_record& r) { r.members[1].flags = member::evicted; }));
  CHECK(refused([](job_record& r) { r.members[1].flags = 64; }));
  CHECK(refused([](job_record& r) { r.members[1].failure_domain.assign(65, 'x'); }));
  CHECK(refused([](job_record& r) { r.committed.epoch = make::epoch(1); }));
  CHECK(refused([](job_record& r) { r.state = static_cast<job_state>(9); }));
  CHECK(refused([](job_record& r) { r.ranks = 0; }));
  CHECK(refused([](job_record& r) { r.operations.resize(operations_max + 1); }));
}

TEST_CASE("damaged bytes never decode into a record that is out of range") {
  const byte_vector good = wire::encode(make::running(4, 3));
  random_generator random(11);
  for (int i = 0; i < 2000; ++i) {
    byte_vector bytes = good;
    const std::size_t at = random.below(bytes.size());
    bytes[at] ^= static_cast<std::byte>(1 + random.below(255));
    const auto r = decode_record(bytes);
    if (r) CHECK(r->validate().ok());
  }
}
