#include "store/world.hpp"

#include <p2pdvm/store/chunker.hpp>
#include <p2pdvm/store/fetcher.hpp>
#include <p2pdvm/store/replicator.hpp>

using namespace store_test;

namespace {

const crypto::secret_key secret = world::seed_key(77);

byte_vector random_bytes(std::size_t count, std::uint64_t seed) {
  random_generator random(seed);
  byte_vector bytes(count);
  for (std::byte& b : bytes) b = std::byte(random() & 0xff);
  return bytes;
}

/// A snapshot with its manifest, sealed on demand.
struct snapshot {
  chunked_snapshot cut;
  std::map<chunk_id, payload> plain;
  std::vector<placed_chunk> chunks;
  placed_chunk manifest_chunk;

  snapshot(chunker& c, std::uint64_t epoch, const byte_vector& grid) {
    REQUIRE(c.start(epoch_number(epoch), {{"grid", {payload(grid)}, true}}).ok());
    REQUIRE(c.step(~std::size_t{0}));
    cut = c.take();
    for (const chunk_source& s : cut.chunks) {
      plain[s.chunk.id] = s.plain;
      chunks.push_back(s.chunk);
    }
    const payload encoded(wire::encode(cut.manifest));
    manifest_chunk = {chunk_codec(secret).id(encoded.view()),
                      static_cast<std::uint32_t>(encoded.size()), manifest_stripe};
    plain[manifest_chunk.id] = encoded;
    chunks.push_back(manifest_chunk);
  }

  replication plan(const world& w, unsigned replicas) const {
    return {{job_id(), incarnation_number(1), cut.manifest.epoch}, cut.manifest.rank, chunks,
            w.members(), replicas};
  }
  replicator::sealed_function sealer() const {
    return [this](const chunk_id& id) -> result<payload> {
      return payload(chunk_codec(secret).seal(id, plain.at(id).view()));
    };
  }
  fetch_plan fetch(const world& w, std::vector<receipt> receipts = {}) const {
    return {job_id(), cut.manifest.rank, chunks, w.members(), 3, std::move(receipts)};
  }
};

replicator make_replicator(world& w, const snapshot& s, replica_map& known, unsigned replicas) {
  return replicator(s.plan(w, replicas), known, w.genuine, s.sealer(),
                    [&w](const node_id& to, store_message m) { w.send(to, std::move(m)); });
}

replication_outcome replicate(world& w, const snapshot& s, replica_map& known, unsigned replicas) {
  replicator r = make_replicator(w, s, known, replicas);
  r.start(w.now);
  w.run(r);
  REQUIRE(r.finished()->ok());
  return **r.finished();
}

/// Counts the living, sound copies of the rarest chunk.
std::size_t copies(const world& w, const snapshot& s) {
  std::size_t least = w.peers.size();
  for (const placed_chunk& c : s.chunks) {
    std::size_t count = 0;
    for (const auto& p : w.peers) {
      const auto found = p->log.chunks.find(c.id);
      const bool there = found != p->log.chunks.end();
      if (p->alive && there && chunk_codec::intact(found->second)) ++count;
    }
    least = std::min(least, count);
  }
  return least;
}

struct fetched {
  std::map<chunk_id, payload> plain;
  result<> end;
  std::size_t damaged = 0;
};

template <class Before>
fetched fetch(world& w, fetch_plan plan, Before&& before) {
  const chunk_codec codec(secret);
  fetched out;
  fetcher f(
      std::move(plan), codec,
      [&](const chunk_id& id, payload p) { CHECK(out.plain.emplace(id, std::move(p)).second); },
      [&](const node_id& to, store_message m) { w.send(to, std::move(m)); });
  before(f);
  f.start(w.now);
  w.run(f);
  out.end = *f.finished();
  out.damaged = f.damaged();
  return out;
}

fetched fetch(world& w, fetch_plan plan) {
  return fetch(w, std::move(plan), [](fetcher&) {});
}

void check_same(const fetched& got, const snapshot& s) {
  REQUIRE(got.end.ok());
  REQUIRE(got.plain.size() == s.chunks.size());
  for (const auto& [id, p] : got.plain) CHECK(equal(p.view(), s.plain.at(id).view()));
}

}  // namespace

TEST_CASE("a snapshot reaches the wanted number of holders and its receipts prove it") {
  world w(6, 1);
  chunker c(secret, rank_number(3));
  const snapshot s(c, 1, random_bytes(3 << 20, 1));
  replica_map known;
  const replication_outcome out = replicate(w, s, known, 3);
  CHECK(out.replicas == 3);
  CHECK(out.troubles.empty());
  CHECK(copies(w, s) == 3);
  CHECK(w.chunks_put == 3 * s.chunks.size());
  const replication plan = s.plan(w, 3);
  CHECK(covers(plan, out.receipts));
  CHECK(replicas_of(plan, out.receipts) == 3);

  auto fewer = out.receipts;
  fewer.pop_back();
  CHECK_FALSE(covers(plan, fewer));
  replication other = plan;
  other.snapshot.epoch = epoch_number(2);
  CHECK_FALSE(covers(other, out.receipts));
  other = plan;
  other.chunks.front().id = chunk_id();
  CHECK_FALSE(covers(other, out.receipts));
  auto forged = out.receipts;
  forged.front().stripes = 0xffff;
  CHECK(replicas_of(plan, forged) < 3);
  other = plan;
  for (member& m : other.members) m.domain = "one room";
  CHECK(replicas_of(other, out.receipts) == 1);
}

TEST_CASE("one changed byte sends one chunk and the manifest to each replica") {
  world w(5, 2);
  chunker c(secret, rank_number(0));
  byte_vector grid = random_bytes(2 << 20, 2);
  replica_map known;
  replicate(w, snapshot(c, 1, grid), known, 3);
  grid[1000000] ^= std::byte{1};
  w.chunks_put = 0;
  const snapshot second(c, 2, grid);
  const auto out = replicate(w, second, known, 3);
  CHECK(w.chunks_put <= 2 * 3);
  CHECK(out.replicas == 3);
  for (auto& p : w.peers)
    REQUIRE(p->holder->keep_only(job_id(), epoch_number(2), epoch_number(0), {}).ok());
  CHECK(copies(w, second) == 3);
}

TEST_CASE("a map that is wrong about a holder costs messages, not chunks") {
  world w(4, 3);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(1 << 20, 3));
  replica_map known;
  for (const member& m : w.members()) {
    for (const placed_chunk& chunk : s.chunks) known.add(m.id, chunk.id, epoch_number(1));
  }
  CHECK(replicate(w, s, known, 2).replicas == 2);
  CHECK(copies(w, s) == 2);
  const chunk_id id = s.chunks.front().id;
  const node_id holder = w.members().front().id;
  known.add(holder, id, epoch_number(4));
  known.expire(epoch_number(4));
  CHECK(known.has(holder, id));
  known.expire(epoch_number(5));
  CHECK_FALSE(known.has(holder, id));
}

TEST_CASE("holders that are full or broken are replaced, and too few domains are admitted") {
  world w(5, 4);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(1 << 20, 4));
  w.peers[0]->log.capacity = 100000;
  w.peers[1]->log.sync_fails = true;
  replica_map known;
  const auto out = replicate(w, s, known, 3);
  CHECK(out.replicas == 3);
  REQUIRE(out.troubles.size() == 2);
  CHECK(out.troubles[0].find("refused chunks: the disk is ") != std::string::npos);
  CHECK(covers(s.plan(w, 3), out.receipts));

  w.peers[2]->log.capacity = 1;
  w.peers[3]->log.capacity = 1;
  const snapshot next(c, 2, random_bytes(1 << 20, 5));
  const auto less = replicate(w, next, known, 3);
  CHECK(less.replicas == 1);
  CHECK_FALSE(covers(next.plan(w, 3), less.receipts));
  CHECK(covers(next.plan(w, 1), less.receipts));
}

TEST_CASE("an upload budget is kept whatever is sent, and nothing is too large for it") {
  upload_budget budget(100'000);
  time_point now{};
  std::uint64_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    now = std::max(now, budget.next());
    REQUIRE(budget.ready(now));
    const std::uint64_t bytes = i % 7 == 0 ? 300'000 : 1000;
    budget.spend(now, bytes);
    sent += bytes;
    CHECK(static_cast<double>(sent) <= 100'000 * (to_seconds(now - time_point()) + to_seconds(upload_burst)) + 300'000);
  }
  CHECK(budget.spent() == sent);
  CHECK(static_cast<double>(sent) >= 90'000 * to_seconds(now - time_point()));  // and it is used
  upload_budget none;
  none.spend(now, ~0u);
  CHECK(none.ready(time_point()));
  CHECK_FALSE(none.limited());
}

TEST_CASE("replication keeps within the upload budget, gives nobody up for that, and what stays here is free") {
  world w(4, 17);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(2 << 20, 17));
  replica_map known;
  constexpr std::uint64_t rate = 40'000;  // a hundred seconds for all of it, ten times `put_stall_time`
  upload_budget budget(rate);
  replication plan = s.plan(w, 3);
  plan.self = w.peers[1]->identity.id();
  std::uint64_t uploaded = 0;
  replicator r(plan, known, w.genuine, s.sealer(), [&](const node_id& to, store_message m) {
    std::uint64_t bytes = 0;
    for (const sealed_chunk& chunk : std::get<put_chunks>(m).chunks) bytes += chunk.sealed.size();
    if (to != plan.self) uploaded += bytes;
    CHECK(static_cast<double>(uploaded) <= rate * (to_seconds(w.now - time_point()) + to_seconds(upload_burst)) + put_bytes_max);
    w.send(to, std::move(m));
  }, &budget);
  r.start(w.now);
  w.run(r);
  REQUIRE(r.finished()->ok());
  CHECK((*r.finished())->replicas == 3);
  CHECK((*r.finished())->troubles.empty());
  CHECK(uploaded > 4 << 20);
  CHECK(budget.spent() == uploaded);
  CHECK(copies(w, s) == 3);
}

TEST_CASE("a second peer of a domain takes over when the first is lost") {
  world w(2, 5);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(300000, 4));
  replica_map known;
  replication plan = s.plan(w, 1);
  for (member& m : plan.members) m.domain = "one room";
  replicator r(plan, known, w.genuine, s.sealer(),
               [&](const node_id& to, store_message m) { w.send(to, std::move(m)); });
  r.start(w.now);
  w.peers[0]->alive = false;
  r.on_member_lost(w.now, w.peers[0]->identity.id());
  w.run(r);
  CHECK((*r.finished())->replicas == 1);
  CHECK(copies(w, s) == 1);
}

TEST_CASE("a holder that signs for other chunks than it was given is given up") {
  world w(3, 6);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(300000, 4));
  replica_map known;
  replicator r = make_replicator(w, s, known, 2);
  r.start(w.now);
  const peer& liar = *w.peers[0];
  for (std::uint64_t sequence = 0; sequence < 8; ++sequence) {
    receipt lie;
    lie.snapshot = s.plan(w, 2).snapshot;
    lie.sequence = sequence;
    lie.sign(liar.identity);
    r.on_message(w.now, liar.identity.id(), lie);
  }
  w.run(r);
  CHECK((*r.finished())->replicas == 2);
  CHECK((*r.finished())->troubles.size() == 1);
  for (const receipt& got : (*r.finished())->receipts) CHECK(got.holder != liar.identity.id());
}

TEST_CASE("what cannot be sealed ends a replication with its error") {
  world w(3, 7);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(300000, 4));
  replica_map known;
  replicator r(s.plan(w, 2), known, w.genuine,
               [](const chunk_id&) -> result<payload> { return error(errc::io, "gone"); },
               [&](const node_id& to, store_message m) { w.send(to, std::move(m)); });
  r.start(w.now);
  REQUIRE(r.finished());
  CHECK(r.finished()->error().message() == "gone");
  CHECK(r.next_timer() == time_point_never);
}

TEST_CASE("replication never has more than its limit under way to a holder") {
  world w(3, 8);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(16 << 20, 8));
  std::map<node_id, std::size_t> queued;
  replica_map known;
  std::size_t sealings = 0;
  replicator r(
      s.plan(w, 3), known, w.genuine,
      [&](const chunk_id& id) {
        ++sealings;
        return s.sealer()(id);
      },
      [&](const node_id& to, store_message m) {
        std::size_t bytes = 0;
        for (const sealed_chunk& chunk : std::get<put_chunks>(m).chunks)
          bytes += chunk.sealed.size();
        CHECK(bytes <= put_bytes_max);
        queued[to] += bytes;
        w.send(to, std::move(m));
      });
  r.start(w.now);
  for (const auto& [to, bytes] : queued) CHECK(bytes <= put_bytes_in_flight_max);
  CHECK(queued.size() == 3);
  CHECK(sealings * 2 < 3 * s.chunks.size());
  w.run(r);
  CHECK((*r.finished())->replicas == 3);
}

TEST_CASE("replication ends well under lost messages, slow holders and deaths") {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    world w(7, seed);
    w.messages_lost_of_100 = seed % 3 == 0 ? 10 : 0;
    w.reorders = seed % 5 == 0;
    for (auto& p : w.peers) p->slowness = duration(w.random.below(4) == 0 ? 8'000'000'000 : 0);
    chunker c(secret, rank_number(0));
    const snapshot s(c, 1, random_bytes(1 << 20, seed));
    replica_map known;
    replicator r = make_replicator(w, s, known, 3);
    for (std::size_t death = 0; death < seed % 4; ++death) {
      peer& p = *w.peers[death * 2];
      const duration when(w.random.below(200'000'000));
      w.at(when, [&p] { p.alive = false; });
      w.at(when + 3s, [&] {
        known.forget(p.identity.id());
        r.on_member_lost(w.now, p.identity.id());
      });
    }
    r.start(w.now);
    w.run(r);
    REQUIRE(r.finished()->ok());
    const replication_outcome& out = **r.finished();
    INFO("seed " << seed);
    for (const receipt& got : out.receipts) {
      for (const placed_chunk& chunk : s.chunks) {
        if ((got.stripes >> chunk.stripe & 1) != 0)
          CHECK(w.by_id(got.holder).log.contains(chunk.id));
      }
    }
    CHECK(replicas_of(s.plan(w, 3), out.receipts) <= copies(w, s));
    if (w.messages_lost_of_100 == 0) CHECK(out.replicas == 3);
  }
}

TEST_CASE("a snapshot is fetched from all its holders, by receipts or by placement") {
  world w(8, 9);
  chunker c(secret, rank_number(5));
  const snapshot s(c, 1, random_bytes(4 << 20, 9));
  replica_map known;
  const auto out = replicate(w, s, known, 3);
  check_same(fetch(w, s.fetch(w)), s);
  check_same(fetch(w, s.fetch(w, out.receipts)), s);

  // The manifest first, then what it lists.
  fetch_plan first = s.fetch(w);
  first.chunks = {{s.manifest_chunk.id, 0, manifest_stripe}};
  const auto got = fetch(w, first);
  REQUIRE(got.end.ok());
  auto m = read_manifest(got.plain.at(s.manifest_chunk.id).view());
  REQUIRE(m.ok());
  CHECK(*m == s.cut.manifest);
  fetch_plan rest = s.fetch(w);
  rest.chunks = chunks_of(*m);
  assembler parts(*m);
  for (const auto& [id, plain] : fetch(w, rest).plain) REQUIRE(parts.add(id, plain).ok());
  CHECK(parts.missing() == 0);
}

TEST_CASE("a fetcher asks several holders at once, each for no more than its limit") {
  world w(8, 15);
  chunker c(secret, rank_number(1));
  const snapshot s(c, 1, random_bytes(32 << 20, 9));
  const chunk_codec codec(secret);
  std::map<node_id, std::size_t> asked;
  fetcher f(
      s.fetch(w), codec, [](const chunk_id&, payload) {},
      [&](const node_id& to, const store_message& m) {
        const auto& get = std::get<get_chunks>(m);
        CHECK(get.ids.size() <= ids_per_fetch_max);
        asked[to] += get.ids.size() * (limits::chunk_bytes + chunk_overhead_bytes);
      });
  f.start(w.now);
  CHECK(asked.size() == 8);
  std::size_t total = 0;
  for (const auto& [to, bytes] : asked) {
    CHECK(bytes <= fetch_bytes_in_flight_max + limits::chunk_bytes);
    total += bytes;
  }
  CHECK(total <= fetch_bytes_in_flight_total_max);
  CHECK(f.next_timer() == w.now + fetch_stall_time);
}

TEST_CASE("chunks that are opened apart may come in any order, twice, too late or damaged") {
  world w(4, 15);
  chunker c(secret, rank_number(1));
  const snapshot s(c, 1, random_bytes(1 << 20, 9));
  const chunk_codec codec(secret);
  std::map<chunk_id, payload> got;
  std::vector<std::pair<node_id, chunk_id>> asked;
  fetcher f(
      s.fetch(w), codec, [&](const chunk_id& id, payload p) { CHECK(got.emplace(id, std::move(p)).second); },
      [&](const node_id& to, const store_message& m) {
        for (const chunk_id& id : std::get<get_chunks>(m).ids) asked.emplace_back(to, id);
      });
  f.start(w.now);
  REQUIRE(asked.size() == s.chunks.size());
  const result<payload> broken = error(errc::corrupted, "it is damaged");
  std::map<chunk_id, node_id> refused;
  while (!asked.empty()) {  // the newest first; whoever is asked first sends it damaged
    const auto [to, id] = asked.back();
    asked.pop_back();
    const node_id stranger = w.peers[w.peers[0]->identity.id() == to ? 1 : 0]->identity.id();
    CHECK(f.expects(to, id).value_or(0) == s.plain.at(id).size());
    CHECK_FALSE(f.expects(stranger, id));
    f.on_opened(w.now, stranger, id, broken, {});
    CHECK(f.expects(to, id));
    const bool first = refused.emplace(id, to).second;
    if (!first) CHECK(refused.at(id) != to);
    f.on_opened(w.now, to, id, first ? broken : result<payload>(s.plain.at(id)), {});
    CHECK_FALSE(f.expects(to, id));
    if (!first) f.on_opened(w.now, to, id, s.plain.at(id), {});
  }
  REQUIRE(f.finished());
  CHECK(f.finished()->ok());
  CHECK(got.size() == s.chunks.size());
  for (const auto& [id, plain] : got) CHECK(equal(plain.view(), s.plain.at(id).view()));
}

TEST_CASE("chunks that moved elsewhere are found among all members") {
  world w(8, 10);
  chunker c(secret, rank_number(5));
  const snapshot s(c, 1, random_bytes(1 << 20, 9));
  replica_map known;
  replication plan = s.plan(w, 1);
  plan.members = {plan.members[6]};
  replicator r(plan, known, w.genuine, s.sealer(),
               [&](const node_id& to, store_message m) { w.send(to, std::move(m)); });
  r.start(w.now);
  w.run(r);
  check_same(fetch(w, s.fetch(w)), s);
}

TEST_CASE("a damaged chunk is found and fetched elsewhere") {
  world w(5, 11);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(1 << 20, 9));
  replica_map known;
  replicate(w, s, known, 2);
  for (const placed_chunk& chunk : s.chunks) {
    for (auto& p : w.peers) {
      if (!p->log.contains(chunk.id)) continue;
      p->log.damage(chunk.id);
      break;
    }
  }
  check_same(fetch(w, s.fetch(w)), s);
}

TEST_CASE("a holder that forges chunks is not believed") {
  world w(4, 12);
  chunker c(secret, rank_number(0));
  const snapshot s(c, 1, random_bytes(1 << 20, 9));
  replica_map known;
  replicate(w, s, known, 2);
  const chunk_codec other(world::seed_key(78));
  for (auto& [id, sealed] : w.peers[0]->log.chunks) sealed = to_vector(other.seal(id, as_bytes("forged")).view());
  const fetched got = fetch(w, s.fetch(w));
  check_same(got, s);
  CHECK(got.damaged > 0);
}

TEST_CASE("missing chunks are counted in a sentence") {
  world w(3, 13);
  chunker c(secret, rank_number(2));
  const snapshot s(c, 1, random_bytes(1 << 20, 9));
  replica_map known;
  replicate(w, s, known, 3);
  for (auto& p : w.peers) p->log.chunks.erase(s.chunks[0].id);
  const fetched got = fetch(w, s.fetch(w));
  REQUIRE_FALSE(got.end.ok());
  CHECK(got.end.error().code() == errc::lost);
  CHECK(got.end.error().message() ==
        "1 of 17 chunks of rank 2 are missing after asking 3 holders; "
        "a peer that holds them has to come back");
  CHECK(got.plain.size() == s.chunks.size() - 1);
}

TEST_CASE("a holder that has lost a chunk, or damaged it, is given it again by who has found that out") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    world w(6, seed);
    chunker c(secret, rank_number(2));
    const snapshot s(c, 1, random_bytes(1 << 20, seed));
    replica_map known;
    replicate(w, s, known, 3);
    const placement places(job_id(), rank_number(2), w.members(), 3);
    std::set<std::pair<node_id, chunk_id>> spoilt;
    for (const placed_chunk& chunk : s.chunks) {  // of three good copies one is left
      const auto targets = places.targets(chunk.stripe);
      for (std::size_t i = 0; i < 2; ++i) {
        peer& p = *w.peers[targets[(i + seed) % 3]];
        if (w.random.below(2) == 0) {
          p.log.chunks.erase(chunk.id);
        } else {
          p.log.damage(chunk.id);
        }
        spoilt.emplace(p.identity.id(), chunk.id);
      }
    }
    const chunk_codec codec(secret);
    std::set<chunk_id> got;
    std::set<std::pair<node_id, chunk_id>> mended;
    fetcher f(
        s.fetch(w), codec, [&](const chunk_id& id, const payload&) { got.insert(id); },
        [&](const node_id& to, store_message m) { w.send(to, std::move(m)); },
        [&](const node_id& holder, const chunk_id& id, const payload& sealed) {
          CHECK(spoilt.contains({holder, id}));
          CHECK(mended.emplace(holder, id).second);
          const auto plain = codec.open(id, sealed.view());
          REQUIRE(plain.ok());
          const bool same = *plain == s.plain.at(id).view();
          CHECK(same);
        });
    f.start(w.now);
    w.run(f);
    CHECK(f.finished()->ok());
    CHECK(got.size() == s.chunks.size());
    CHECK(mended.size() > s.chunks.size() / 4);
    CHECK_FALSE(f.all_denied());
  }
}

TEST_CASE("chunks that all have denied are told from those of which nobody has said anything") {
  world w(4, 16);
  chunker c(secret, rank_number(2));
  const snapshot s(c, 1, random_bytes(1 << 20, 9));
  replica_map known;
  replicate(w, s, known, 4);
  const chunk_codec codec(secret);
  for (const std::size_t silent : {4u, 0u}) {
    for (auto& p : w.peers) {
      p->log.chunks.erase(s.chunks[0].id);
      p->log.chunks.erase(s.chunks[5].id);
    }
    if (silent < 4) w.peers[silent]->alive = false;
    fetch_plan plan = s.fetch(w);
    if (silent < 4) plan.members.push_back({w.peers[silent]->identity.id(), w.peers[silent]->identity.key(), "there", 1});
    std::size_t mends = 0;
    fetcher f(
        plan, codec, [](const chunk_id&, const payload&) {}, [&](const node_id& to, store_message m) { w.send(to, std::move(m)); },
        [&](const node_id&, const chunk_id&, const payload&) { ++mends; });
    f.start(w.now);
    w.run(f);
    REQUIRE_FALSE(f.finished()->ok());
    CHECK(f.missing() == 2);
    CHECK(f.chunks() == s.chunks.size());
    CHECK(f.all_denied() == (silent == 4));
    CHECK(mends == 0);
  }
}

TEST_CASE("nothing to fetch is fetched at once, and nobody to ask is an error") {
  world w(1, 14);
  chunker c(secret, rank_number(2));
  const snapshot s(c, 1, random_bytes(100, 9));
  fetch_plan nothing = s.fetch(w);
  nothing.chunks.clear();
  CHECK(fetch(w, nothing).end.ok());
  w.peers[0]->alive = false;
  CHECK(fetch(w, s.fetch(w)).end.error().code() == errc::lost);
}

TEST_CASE("fetching survives lost messages, slow holders and deaths while one copy is left") {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    world w(7, seed);
    chunker c(secret, rank_number(0));
    const snapshot s(c, 1, random_bytes(2 << 20, seed));
    replica_map known;
    const auto out = replicate(w, s, known, 3);
    w.messages_lost_of_100 = seed % 2 == 0 ? 5 : 0;
    w.reorders = seed % 5 == 0;
    const std::size_t victims[] = {w.random.below(7), w.random.below(7)};
    for (auto& p : w.peers) p->slowness = duration(w.random.below(4) == 0 ? 5'000'000'000 : 0);
    const auto got = fetch(w, s.fetch(w, seed % 3 == 0 ? out.receipts : std::vector<receipt>()),
                           [&](fetcher& f) {
                             for (const std::size_t v : victims) {
                               peer& p = *w.peers[v];
                               const duration when(w.random.below(300'000'000));
                               w.at(when, [&p] { p.alive = false; });
                               w.at(when + 2s, [&w, &f, &p] {
                                 f.on_member_lost(w.now, p.identity.id());
                               });
                             }
                           });
    check_same(got, s);
  }
}

TEST_CASE("a receipt is verified once, and one with a byte changed anew") {
  const crypto::identity holder(world::seed_key(1)), other(world::seed_key(2));
  genuine_receipts known;
  receipt r;
  r.rank = rank_number(3);
  r.stripes = 7;
  r.sign(holder);
  CHECK(known.check(r, holder.key()));
  CHECK(known.check(r, holder.key()));
  CHECK_FALSE(known.check(r, other.key()));
  receipt more = r;
  more.stripes = 15;
  CHECK_FALSE(known.check(more, holder.key()));
  receipt forged = r;
  forged.proof.mutable_bytes()[5] ^= std::byte(1);
  CHECK_FALSE(known.check(forged, holder.key()));
  known.add(more, holder.key());  // as the one who signs says of his own
  CHECK(known.check(more, holder.key()));
  known.clear();
  CHECK_FALSE(known.check(more, holder.key()));
  CHECK(known.check(r, holder.key()));
}
