#include "store/world.hpp"

#include <p2pdvm/store/chunk.hpp>

using namespace store_test;

namespace {

/// One holder and everything it answers.
struct bench {
  world w{1, 1};
  chunk_codec codec{crypto::secret_key()};
  std::vector<store_message> answers;
  bench() {
    w.inbox = [this](const node_id&, const store_message& m) { answers.push_back(m); };
  }
  peer& p() { return *w.peers.front(); }
  sealed_chunk chunk(std::string_view text) const {
    const chunk_id id = codec.id(as_bytes(text));
    return {id, payload(codec.seal(id, as_bytes(text)))};
  }
  void put(put_chunks message) { w.send(p().identity.id(), std::move(message)); }
  store_message answer() {
    w.drain();
    REQUIRE(answers.size() == 1);
    store_message m = answers.front();
    answers.clear();
    return m;
  }
};

pin at_epoch(std::uint64_t epoch) { return {job_id(), incarnation_number(1), epoch_number(epoch)}; }

}  // namespace

TEST_CASE("a holder stores, pins and gives a signed receipt for all chunks of a put") {
  bench b;
  const auto one = b.chunk("one"), two = b.chunk("two");
  b.put({at_epoch(1), rank_number(4), 0, 0, {one}, {}});
  REQUIRE(std::holds_alternative<receipt>(b.answer()));
  b.put({at_epoch(2), rank_number(4), 1, 5, {two}, {one.id}});
  const auto r = std::get<receipt>(b.answer());
  CHECK(r.holder == b.p().identity.id());
  CHECK(r.snapshot == at_epoch(2));
  CHECK(r.rank == rank_number(4));
  CHECK(r.sequence == 1);
  CHECK(r.stripes == 5);
  CHECK(r.covered == digest_of({two.id, one.id, one.id}));
  CHECK(r.signed_by(b.p().identity.key()));
  CHECK_FALSE(r.signed_by(b.w.client.key()));
  receipt forged = r;
  forged.snapshot.epoch = epoch_number(3);
  CHECK_FALSE(forged.signed_by(b.p().identity.key()));
  CHECK(b.p().log.pinned(at_epoch(2)).size() == 2);
}

TEST_CASE("a holder tells its own user of damage, of healing, and once of a disk that refuses") {
  world w(1, 1);
  test_log log;
  log.later = [](std::function<void()> action) { action(); };
  std::vector<disk_notice> notices;
  std::size_t sent = 0;
  const crypto::identity self{crypto::secret_key()};
  holder h(log, self, [&](const node_id&, store_message) { ++sent; },
           [&](disk_notice n) { notices.push_back(std::move(n)); });
  h.follow(job_id(), {}, {}, {});
  const bench b;
  const auto one = b.chunk("one"), two = b.chunk("two");
  const auto put = [&](std::vector<sealed_chunk> chunks) {
    h.on_message(time_point(), node_id(), put_chunks{at_epoch(1), rank_number(0), 0, 1, chunks, {}});
  };
  const auto get = [&](const sealed_chunk& c) {
    h.on_message(time_point(), node_id(), get_chunks{{c.id}});
  };
  put({one});
  get(one);
  get(two);  // not here, which is no damage
  CHECK(notices.empty());
  log.rotten = one.id;
  get(one);
  get(one);
  REQUIRE(notices.size() == 1);
  CHECK(notices[0].what == disk_notice::kind::damaged);
  CHECK(notices[0].text == "rotten");
  put({one});
  put({one});
  REQUIRE(notices.size() == 2);
  CHECK(notices[1].what == disk_notice::kind::healed);
  log.capacity = 0;
  put({two});
  put({two});
  REQUIRE(notices.size() == 3);
  CHECK(notices[2].what == disk_notice::kind::refuses);
  CHECK(notices[2].text == "the disk is full");
  log.capacity = ~0ull;
  put({two});
  log.capacity = 0;
  put({b.chunk("three")});
  CHECK(notices.size() == 4);
}

TEST_CASE("a holder says which chunks it misses and which came damaged") {
  bench b;
  const auto one = b.chunk("one");
  auto bad = b.chunk("bad");
  byte_vector bytes = to_vector(bad.sealed.view());
  bytes[20] ^= std::byte{1};
  bad.sealed = payload(bytes);
  const chunk_id unknown = b.codec.id(as_bytes("unknown"));
  b.put({at_epoch(1), rank_number(0), 9, 1, {one, bad}, {unknown}});
  const auto m = std::get<chunks_missing>(b.answer());
  CHECK(m.sequence == 9);
  CHECK(m.ids == std::vector<chunk_id>{bad.id, unknown});
  CHECK(b.p().log.contains(one.id));
  CHECK(b.p().log.pinned(at_epoch(1)) == std::vector<chunk_id>{one.id});
  CHECK_FALSE(b.p().log.contains(bad.id));
}

TEST_CASE("a full or broken disk refuses with a sentence and keeps what it took collectable") {
  bench b;
  b.p().log.capacity = 40;
  const auto one = b.chunk("one"), two = b.chunk("two");
  b.put({at_epoch(1), rank_number(0), 0, 0, {one, two}, {}});
  CHECK(std::get<put_refused>(b.answer()).reason == "the disk is full");
  CHECK(b.p().log.pinned(at_epoch(1)) == std::vector<chunk_id>{one.id});
  b.p().log.capacity = 4000;
  b.p().log.sync_fails = true;
  b.put({at_epoch(1), rank_number(0), 1, 0, {two}, {}});
  CHECK(std::get<put_refused>(b.answer()).reason == "the disk is broken");
}

TEST_CASE("a get is answered with sound chunks only") {
  bench b;
  const auto one = b.chunk("one"), two = b.chunk("two");
  b.put({at_epoch(1), rank_number(0), 0, 0, {one, two}, {}});
  b.answer();
  b.p().log.damage(one.id);
  b.w.send(b.p().identity.id(), get_chunks{{one.id, two.id}});
  b.w.drain();
  REQUIRE(b.answers.size() == 2);
  for (const store_message& m : b.answers) {
    if (const auto* data = std::get_if<chunk_data>(&m)) {
      CHECK(data->chunk.id == two.id);
      CHECK(equal(data->chunk.sealed.view(), two.sealed.view()));
    } else {
      CHECK(std::get<chunks_absent>(m).ids == std::vector<chunk_id>{one.id});
    }
  }
}

TEST_CASE("garbage keeps the committed epoch, the one before, inputs and what is being made") {
  bench b;
  const auto input = b.chunk("input");
  REQUIRE(b.p().log.put(input.id, input.sealed.view()).ok());
  REQUIRE(b.p().log.add_pin(at_epoch(0), {input.id}).ok());
  for (const std::uint64_t epoch : {3, 4, 5, 6, 7, 8}) {
    b.put({at_epoch(epoch), rank_number(0), 0, 0, {b.chunk(std::to_string(epoch))}, {}});
    REQUIRE(std::holds_alternative<receipt>(b.answer()));
  }
  pin foreign = at_epoch(3);
  foreign.job.mutable_bytes()[0] = std::byte{1};
  b.p().holder->follow(foreign.job, {}, {}, {});
  b.put({foreign, rank_number(0), 0, 0, {b.chunk("foreign")}, {}});
  b.answer();
  const auto epochs = [&] {
    std::vector<std::uint64_t> list;
    for (const pin& p : b.p().log.pins()) {
      if (p.job == job_id()) list.push_back(p.epoch.value());
    }
    return list;
  };
  holder& h = *b.p().holder;
  REQUIRE(h.keep_only(job_id(), epoch_number(6), epoch_number(4), epoch_number(7)).ok());
  CHECK(epochs() == std::vector<std::uint64_t>{0, 4, 6, 8});
  CHECK_FALSE(b.p().log.contains(b.chunk("5").id));
  CHECK(b.p().log.contains(b.chunk("foreign").id));
  b.put({at_epoch(7), rank_number(0), 0, 0, {b.chunk("late")}, {}});
  CHECK(std::get<put_refused>(b.answer()).reason == "epoch 7 was superseded or given up");
  REQUIRE(h.release(job_id()).ok());
  CHECK(epochs().empty());
  CHECK(b.p().log.pins().size() == 1);
}

TEST_CASE("nobody can pin what no record will ever collect") {
  bench b;
  holder& h = *b.p().holder;
  const auto refusal = [&](const pin& snapshot) {
    b.put({snapshot, rank_number(0), 0, 0, {b.chunk(std::to_string(snapshot.epoch.value()))}, {}});
    const store_message m = b.answer();
    const auto* refused = std::get_if<put_refused>(&m);
    return refused == nullptr ? std::string() : refused->reason;
  };
  pin foreign = at_epoch(1);
  foreign.job.mutable_bytes()[0] = std::byte{0xab};
  CHECK(refusal(foreign) == "it takes no part in job ab000000");
  CHECK(refusal(at_epoch(0)) == "epoch 0 is for inputs, which every peer stores by itself");
  h.follow(job_id(), epoch_number(6), epoch_number(4), epoch_number(7));
  for (const std::uint64_t epoch : {1, 3, 5, 7}) {
    CHECK(refusal(at_epoch(epoch)) ==
          "epoch " + std::to_string(epoch) + " was superseded or given up");
  }
  for (const std::uint64_t epoch : {std::uint64_t{40}, ~std::uint64_t{0}}) {
    CHECK(refusal(at_epoch(epoch)) == "epoch " + std::to_string(epoch) +
                                          " is far ahead of the job's record, which has "
                                          "committed 6");
  }
  CHECK(b.p().log.pins().empty());
  CHECK(b.p().log.chunks.empty());
  for (const std::uint64_t epoch : {4, 6, 8, 39}) CHECK(refusal(at_epoch(epoch)).empty());
  REQUIRE(h.release(job_id()).ok());
  CHECK(refusal(at_epoch(8)) == "it takes no part in job 00000000");
}

TEST_CASE("no receipt is given for a snapshot that was dropped while the disk was busy") {
  bench b;
  holder& h = *b.p().holder;
  h.on_message({}, b.w.client.id(),
               put_chunks{at_epoch(1), rank_number(0), 0, 0, {b.chunk("one")}, {}});
  REQUIRE(h.keep_only(job_id(), epoch_number(3), epoch_number(2), epoch_number(0)).ok());
  CHECK(std::holds_alternative<put_refused>(b.answer()));
}

TEST_CASE("a holder may be destroyed while the disk is busy") {
  bench b;
  b.p().holder->on_message({}, b.w.client.id(),
                           put_chunks{at_epoch(1), rank_number(0), 0, 0, {b.chunk("one")}, {}});
  b.p().holder.reset();
  b.w.drain();
  CHECK(b.answers.empty());
}

TEST_CASE("store messages beyond the limits are rejected before anybody acts on them") {
  get_chunks get;
  get.ids.resize(ids_per_get_max + 1);
  CHECK(read_store_message(wire::encode(store_message(get))).error().code() == errc::too_large);
  get.ids.resize(1);
  const byte_vector good = wire::encode(store_message(get));
  CHECK(read_store_message(good).ok());
  CHECK(read_store_message(byte_view(good).first(good.size() - 1)).error().code() ==
        errc::malformed);
  put_refused refused;
  refused.reason.assign(100000, 'x');
  CHECK_FALSE(read_store_message(wire::encode(store_message(refused))).ok());
}
