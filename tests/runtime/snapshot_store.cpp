#include "support/test.hpp"

#include <p2pdvm/runtime/snapshot_store.hpp>
#include <p2pdvm/sim/simulation.hpp>
#include <p2pdvm/store/memory_log.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <functional>
#include <string>
#include <vector>

namespace p2pdvm::test {
namespace {

task<> nothing(peal::rank&) { co_return; }

crypto::identity identity_of(std::uint8_t number) {
  crypto::secret_key seed;
  seed.mutable_bytes()[0] = std::byte{number};
  return crypto::identity(seed);
}

constexpr std::uint16_t stripes = 0b1000'0000'0000'0101;
const rank_number rank(3);

/// The store of a peer that knows five members, each in its own failure domain.
class bench final : public runtime::snapshot_store_owner {
 public:
  bench() : store(*this, context_, snapshot.job, crypto::secret_key()) {
    for (std::uint8_t i = 1; i <= 5; ++i) who.push_back(identity_of(i));
    set_members({"a", "b", "c", "d", "e"});
  }
  void set_members(const std::vector<std::string>& domains) {
    std::vector<store::member> members;
    for (std::size_t i = 0; i < domains.size(); ++i)
      members.push_back({who[i].id(), who[i].key(), domains[i], 1});
    store.set_members(std::move(members), 3);
  }
  store::receipt receipt_of(std::size_t holder, std::uint16_t for_stripes = stripes) const {
    store::receipt r;
    r.snapshot = snapshot;
    r.rank = rank;
    r.stripes = for_stripes;
    r.sign(who[holder]);
    return r;
  }
  /// Three copies, of which the first three members have one each.
  runtime::seal_proof good() const {
    runtime::seal_proof proof;
    proof.replicas = 3;
    proof.stripes = stripes;
    for (std::size_t i = 0; i < 3; ++i) proof.receipts.push_back(receipt_of(i));
    return proof;
  }
  bool sufficient(const runtime::seal_proof& proof) {
    return store.sufficient(snapshot, rank, wire::encode(proof));
  }
  void send_store(const node_id&, const store::store_message&) override {}
  void drained(rank_number, epoch_number, const runtime::drain_outcome&) override {}
  void drain_failed(rank_number, epoch_number, const error&) override {}
  void disk_noticed(const store::disk_notice&) override {}
  void chunks_nowhere(rank_number, epoch_number, std::size_t) override {}

  const store::pin snapshot{job_id(), incarnation_number(2), epoch_number(9)};
  std::vector<crypto::identity> who;

 private:
  sim::simulation net_{sim::options()};
  sim::machine& machine_ = net_.add_machine();
  queue_context ranks_;
  driver_token token_;
  store::memory_log log_{machine_.clock()};
  crypto::identity self_ = identity_of(99);
  peal::program program_{"nothing", nothing};
  runtime::peer_setting setting_;
  runtime::peer_context context_{machine_, ranks_,   token_,  log_,   self_,
                                 program_, setting_, nullptr, nullptr};

 public:
  runtime::snapshot_store store;
};

TEST_CASE("a snapshot is stored when members of enough domains vouch for every stripe") {
  bench b;
  CHECK(b.sufficient(b.good()));
  auto spread = b.good();  // the same, in pieces
  spread.receipts.clear();
  for (std::size_t i = 0; i < 3; ++i) {
    for (const std::uint16_t part : {std::uint16_t{0b101}, std::uint16_t{1u << 15}})
      spread.receipts.push_back(b.receipt_of(i, part));
  }
  CHECK(b.sufficient(spread));
}

TEST_CASE("a proof that does not decode, or says nothing, is not sufficient") {
  bench b;
  const byte_vector whole = wire::encode(b.good());
  for (std::size_t n = 0; n < whole.size(); ++n)
    CHECK_FALSE(b.store.sufficient(b.snapshot, rank, byte_view(whole).first(n)));
  byte_vector longer = whole;
  longer.push_back(std::byte{0});
  CHECK_FALSE(b.store.sufficient(b.snapshot, rank, longer));
  CHECK_FALSE(b.sufficient(runtime::seal_proof()));
}

TEST_CASE("a proof must vouch for at least one copy of at least the manifest") {
  bench b;
  auto none = b.good();
  none.replicas = 0;
  CHECK_FALSE(b.sufficient(none));
  auto no_stripes = b.good();
  no_stripes.stripes = 0;
  CHECK_FALSE(b.sufficient(no_stripes));
  auto no_manifest = b.good();
  no_manifest.stripes = 0b100;
  CHECK_FALSE(b.sufficient(no_manifest));
}

TEST_CASE("one copy too few of any stripe is not sufficient") {
  bench b;
  for (std::size_t i = 0; i < 3; ++i) {
    auto fewer = b.good();
    fewer.receipts.erase(fewer.receipts.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK_FALSE(b.sufficient(fewer));
    for (const unsigned stripe : {0u, 2u, 15u}) {
      auto hole = b.good();
      hole.receipts[i] = b.receipt_of(i, static_cast<std::uint16_t>(stripes & ~(1u << stripe)));
      CHECK_FALSE(b.sufficient(hole));
    }
  }
}

TEST_CASE("one holder's receipts count once, and so do those of one failure domain") {
  bench b;
  auto twice = b.good();
  twice.receipts[2] = b.receipt_of(1);
  CHECK_FALSE(b.sufficient(twice));
  b.set_members({"a", "b", "b", "d", "e"});
  CHECK_FALSE(b.sufficient(b.good()));
  auto with_another = b.good();
  with_another.receipts.push_back(b.receipt_of(3));
  CHECK(b.sufficient(with_another));
}

TEST_CASE("receipts of those that are no members any more do not count") {
  bench b;
  b.set_members({"a", "b"});  // fewer domains than copies: each of them is needed
  CHECK(b.sufficient(b.good()));
  auto one_left = b.good();
  one_left.receipts.erase(one_left.receipts.begin());
  CHECK_FALSE(b.sufficient(one_left));
  b.set_members({});
  CHECK_FALSE(b.sufficient(b.good()));
}

TEST_CASE("a receipt that its holder has not signed like that does not count") {
  bench b;
  const std::vector<std::function<void(store::receipt&)>> forgeries = {
      [](auto& r) { r.stripes = 0xffff; },
      [](auto& r) { r.sequence = 77; },
      [](auto& r) { r.covered.mutable_bytes()[0] ^= std::byte{1}; },
      [](auto& r) { r.proof.mutable_bytes()[5] ^= std::byte{1}; },
      [&b](auto& r) { r.holder = b.who[4].id(); },
      [&b](auto& r) {
        const node_id claimed = r.holder;
        r.sign(b.who[4]);
        r.holder = claimed;
      }};
  for (std::size_t i = 0; i < forgeries.size(); ++i) {
    INFO("forgery " << i);
    auto proof = b.good();
    forgeries[i](proof.receipts[1]);
    CHECK_FALSE(b.sufficient(proof));
  }
}

TEST_CASE("a good receipt for another snapshot, epoch or rank does not count") {
  bench b;
  const std::vector<std::function<void(store::receipt&)>> others = {
      [](auto& r) { r.rank = rank_number(4); },
      [](auto& r) { r.snapshot.epoch = epoch_number(8); },
      [](auto& r) { r.snapshot.incarnation = incarnation_number(1); },
      [](auto& r) { r.snapshot.job.mutable_bytes()[0] = std::byte{1}; }};
  for (std::size_t i = 0; i < others.size(); ++i) {
    INFO("change " << i);
    auto proof = b.good();
    others[i](proof.receipts[1]);
    proof.receipts[1].sign(b.who[1]);
    CHECK_FALSE(b.sufficient(proof));
  }
}

TEST_CASE("fewer copies than wanted are sufficient if the proof says so") {
  bench b;
  auto reduced = b.good();
  reduced.replicas = 2;
  reduced.receipts.pop_back();
  CHECK(b.sufficient(reduced));
  auto boastful = b.good();
  boastful.replicas = 4;
  CHECK_FALSE(b.sufficient(boastful));
}

}  // namespace
}  // namespace p2pdvm::test
