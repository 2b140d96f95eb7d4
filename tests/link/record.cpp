#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/link/record.hpp>

#include <string>
#include <thread>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::link;

namespace {

crypto::secret_key key_of(std::string_view text) {
  return crypto::secret_key(crypto::hash(as_bytes(text)).bytes());
}

struct both_ends {
  explicit both_ends(noise::cipher kind, rekey_policy policy = {})
      : sender(record_cipher(kind, key_of("k"), policy)),
        receiver(record_cipher(kind, key_of("k"), policy)) {}
  record_sender sender;
  record_receiver receiver;
};

std::vector<noise::cipher> ciphers() {
  std::vector<noise::cipher> all = {noise::cipher::chacha20_poly1305};
  if (crypto::aes_available()) all.push_back(noise::cipher::aes256_gcm);
  return all;
}

/// All plaintexts in `stream`, fed in pieces of `piece` bytes; ends at the first failure.
std::vector<byte_vector> receive(record_receiver& receiver, byte_view stream, std::size_t piece,
                                 errc& failure) {
  std::vector<byte_vector> all;
  failure = errc::ok;
  while (!stream.empty()) {
    byte_view input = stream.first(std::min(piece, stream.size()));
    stream = stream.subspan(input.size());
    for (;;) {
      auto record = receiver.next(input);
      if (!record) {
        failure = record.error().code();
        return all;
      }
      if (!record->has_value()) break;
      all.push_back(to_vector(**record));
    }
    CHECK(input.empty());
  }
  return all;
}

void finish(record_sender& sender, byte_vector& stream) {
  sender.finish();
  append(stream, sender.take());
}

byte_vector random_bytes(random_generator& random, std::size_t size) {
  byte_vector bytes(size);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace

TEST_CASE("records survive any cutting of the stream and frequent changes of keys") {
  for (const auto kind : ciphers()) {
    for (const std::size_t piece : {1, 3, 7, 64, 5000, 1000000}) {
      random_generator random(piece);
      both_ends ends(kind, rekey_policy{3, 900});
      std::vector<byte_vector> sent;
      byte_vector stream;
      for (int i = 0; i < 40; ++i) {
        sent.push_back(random_bytes(random, 1 + random.below(700)));
        ends.sender.add(sent.back());
        finish(ends.sender, stream);
      }
      errc failure;
      CHECK(receive(ends.receiver, stream, piece, failure) == sent);
      CHECK(failure == errc::ok);
    }
  }
}

TEST_CASE("small messages are coalesced into one record and an empty record is not sent") {
  both_ends ends(noise::cipher::chacha20_poly1305);
  byte_vector stream;
  finish(ends.sender, stream);
  CHECK(stream.empty());
  for (int i = 0; i < 100; ++i) ends.sender.add(as_bytes("0123456789"));
  CHECK(ends.sender.room() == limits::record_bytes_max - 1000);
  finish(ends.sender, stream);
  CHECK(stream.size() == 1000 + record_header_bytes + crypto::tag_bytes);
}

TEST_CASE("the largest record passes") {
  for (const auto kind : ciphers()) {
    both_ends ends(kind);
    byte_vector stream;
    ends.sender.add(byte_vector(limits::record_bytes_max, std::byte{7}));
    CHECK(ends.sender.room() == 0);
    finish(ends.sender, stream);
    CHECK(stream.size() == record_wire_bytes_max);
    errc failure;
    CHECK(receive(ends.receiver, stream, 1000, failure).at(0).size() == limits::record_bytes_max);
  }
}

TEST_CASE("a record is opened in the memory that is offered for it, however it comes") {
  struct offered final : record_places {
    byte_span place(std::size_t plain_bytes) override {
      asked.push_back(plain_bytes);
      if (!offers) return {};
      memory.assign(plain_bytes + 2, std::byte{0xee});
      return byte_span(memory).subspan(1, plain_bytes);
    }
    std::vector<std::size_t> asked;
    byte_vector memory;
    bool offers = true;
  };
  random_generator random(11);
  for (const auto kind : ciphers()) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{999}, std::size_t{70000}}) {
      both_ends ends(kind, rekey_policy{2, 100000});
      offered places;
      for (const std::size_t size : {std::size_t{40}, placed_record_bytes_min, std::size_t{30000},
                                     limits::record_bytes_max, std::size_t{500}}) {
        const byte_vector plain = random_bytes(random, size);
        byte_vector stream;
        // In two parts, the second from its own memory.
        ends.sender.add(byte_view(plain).first(7));
        ends.sender.add_last(payload::copy_of(byte_view(plain).subspan(7)));
        CHECK(ends.sender.room() == 0);
        finish(ends.sender, stream);
        places.asked.clear();
        places.offers = size != 30000;
        byte_vector got;
        for (byte_view left = stream; !left.empty();) {
          byte_view input = left.first(std::min(piece, left.size()));
          left = left.subspan(input.size());
          const auto record = ends.receiver.next(input, &places);
          REQUIRE(record.ok());
          REQUIRE(input.empty());
          CHECK(record->has_value() == left.empty());
          CHECK(ends.receiver.partial() == !left.empty());
          if (!record->has_value()) continue;
          got = to_vector(**record);
          const bool there = size >= placed_record_bytes_min && places.offers;
          CHECK((!places.memory.empty() && (*record)->data() == places.memory.data() + 1) == there);
        }
        CHECK(got == plain);
        CHECK(places.asked == (size >= placed_record_bytes_min ? std::vector{size} : std::vector<std::size_t>()));
        if (!places.memory.empty()) {
          CHECK(places.memory.front() == std::byte{0xee});
          CHECK(places.memory.back() == std::byte{0xee});
        }
      }
      // Whatever is altered, nothing of it is given out.
      byte_vector stream;
      ends.sender.add(random_bytes(random, 20000));
      finish(ends.sender, stream);
      stream[4 + random.below(20000 + crypto::tag_bytes)] ^= std::byte{1};
      errc failure;
      CHECK(receive(ends.receiver, stream, piece, failure).empty());
      CHECK(failure == errc::authentication);
    }
  }
}

TEST_CASE("a record that has to leave the memory that was offered is opened to its end elsewhere") {
  struct offered final : record_places {
    byte_span place(std::size_t plain_bytes) override {
      memory.resize(plain_bytes);
      return memory;
    }
    byte_vector memory;
  };
  for (const auto kind : ciphers()) {
    random_generator random(9);
    both_ends ends(kind);
    for (const std::size_t before : {0, 3, 4, 5, 1000, 49999, 50004, 50010, 50019}) {
      const byte_vector plain = random_bytes(random, 50000);
      byte_vector stream;
      ends.sender.add(plain);
      finish(ends.sender, stream);
      offered there;
      byte_view first = byte_view(stream).first(before), rest = byte_view(stream).subspan(before);
      REQUIRE(ends.receiver.next(first, &there).ok());
      ends.receiver.displace();
      const bool offered_before = !there.memory.empty();
      std::fill(there.memory.begin(), there.memory.end(), std::byte{0xee});
      auto record = ends.receiver.next(rest, &there);
      REQUIRE(record.ok());
      REQUIRE(record->has_value());
      CHECK(equal(**record, plain));
      if (offered_before)
        CHECK(std::all_of(there.memory.begin(), there.memory.end(), [](std::byte b) { return b == std::byte{0xee}; }));
    }
  }
}

TEST_CASE("every altered byte ends the stream with the records before it intact, for good") {
  for (const auto kind : ciphers()) {
    both_ends origin(kind);
    byte_vector stream;
    origin.sender.add(as_bytes("first"));
    finish(origin.sender, stream);
    const std::size_t boundary = stream.size();
    origin.sender.add(as_bytes("second"));
    finish(origin.sender, stream);
    for (std::size_t at = 0; at < stream.size(); ++at) {
      for (const int bit : {0, 7}) {
        byte_vector damaged = stream;
        damaged[at] ^= static_cast<std::byte>(1 << bit);
        // A length that grew makes the receiver wait for more; give it more.
        damaged.resize(damaged.size() + record_wire_bytes_max);
        both_ends ends(kind);
        errc failure;
        const auto got = receive(ends.receiver, damaged, 11, failure);
        CHECK(failure != errc::ok);
        CHECK(got.size() == (at < boundary ? 0u : 1u));
        byte_view good = stream;
        CHECK_FALSE(ends.receiver.next(good).ok());
      }
    }
  }
}

TEST_CASE("dropped, repeated and swapped records are refused") {
  both_ends origin(noise::cipher::chacha20_poly1305);
  std::vector<byte_vector> records(3);
  for (auto& record : records) {
    origin.sender.add(as_bytes("same length"));
    finish(origin.sender, record);
  }
  const std::vector<std::vector<int>> orders = {{1}, {0, 0}, {0, 2}, {0, 1, 0}};
  for (const auto& order : orders) {
    both_ends ends(noise::cipher::chacha20_poly1305);
    byte_vector stream;
    for (const int i : order) append(stream, records[static_cast<std::size_t>(i)]);
    errc failure;
    CHECK(receive(ends.receiver, stream, stream.size(), failure).size() == order.size() - 1);
    CHECK(failure == errc::authentication);
  }
}

TEST_CASE("an impossible length is refused before its bytes arrive") {
  for (const std::uint32_t length : {0u, 16u, 65553u, 0xffffffffu}) {
    both_ends ends(noise::cipher::chacha20_poly1305);
    byte_view input = bytes_of(length);
    auto got = ends.receiver.next(input);
    REQUIRE_FALSE(got.ok());
    CHECK(got.error().code() == errc::malformed);
  }
}

namespace {

/// Parts on threads of their own, or here in an order that nobody expects.
struct helpers final : host::workers {
  [[nodiscard]] unsigned count() const override { return 3; }
  void run(length, std::function<void()> work, std::function<void()> done) override { work(), done(); }
  bool help() override { return false; }
  [[nodiscard]] unsigned idle() override { return there; }
  void share(std::size_t parts, const std::function<void(std::size_t)>& part) override {
    ++shared;
    if (here) {
      while (parts > 0) part(--parts);
      return;
    }
    std::vector<std::thread> threads;
    for (std::size_t n = 0; n < parts; ++n) threads.emplace_back([&part, n] { part(n); });
    for (std::thread& t : threads) t.join();
  }
  unsigned there = 3;
  bool here = false;
  int shared = 0;
};

/// A message's worth of records: a few bytes of front, then `rest` from its own memory; now and then a small one between.
std::vector<byte_vector> add_records(record_sender& sender, random_generator& random, bool with_crew, int count) {
  std::vector<byte_vector> plain;
  for (int i = 0; i < count; ++i) {
    const bool small = random.below(5) == 0;
    plain.push_back(random_bytes(random, small ? 1 + random.below(300) : shared_record_bytes_min + 7 + random.below(30000)));
    const byte_view all = plain.back();
    sender.add(all.first(std::min<std::size_t>(7, all.size())));
    if (!small) sender.add_last(payload::copy_of(all.subspan(7)));
    if (small) sender.add(all.subspan(std::min<std::size_t>(7, all.size())));
    sender.finish(with_crew);
  }
  return plain;
}

}  // namespace

TEST_CASE("records that a crew seals and opens are those that one thread makes and reads") {
  for (const auto kind : ciphers()) {
    for (const bool here : {true, false}) {
      random_generator random(here ? 21 : 22);
      helpers workers;
      workers.here = here;
      record_crew crew{workers, {}};
      for (int round = 0; round < 12; ++round) {
        const rekey_policy policy{1 + random.below(6), 100 + random.below(200000)};
        both_ends alone(kind, policy), together(kind, policy);
        random_generator again = random;
        const auto plain = add_records(alone.sender, random, false, 25);
        const bool same_plain = add_records(together.sender, again, true, 25) == plain;
        CHECK(same_plain);
        const byte_vector stream = alone.sender.take();
        const bool same_sealed = together.sender.take(&crew) == stream;
        CHECK(same_sealed);

        std::vector<byte_vector> got;
        const std::size_t piece = 1 + random.below(400000);
        for (byte_view left = stream; !left.empty();) {
          byte_view input = left.first(std::min(piece, left.size()));
          left = left.subspan(input.size());
          workers.there = random.below(4) == 0 ? 0 : 3;
          for (;;) {
            auto record = together.receiver.next(input, nullptr, &crew);
            REQUIRE(record);
            if (!record->has_value()) break;
            got.push_back(to_vector(**record));
          }
          CHECK(input.empty());
        }
        const bool same = got == plain;
        CHECK(same);
      }
      CHECK(workers.shared > 20);
    }
  }
}

TEST_CASE("a record that was altered ends the stream where it is, though it was opened together with others") {
  for (const auto kind : ciphers()) {
    random_generator random(5);
    helpers workers;
    workers.here = true;
    record_crew crew{workers, {}};
    for (std::size_t bad = 0; bad < 4; ++bad) {
      both_ends ends(kind);
      std::vector<byte_vector> plain;
      std::size_t at = 0;
      for (std::size_t i = 0; i < 4; ++i) {
        plain.push_back(random_bytes(random, shared_record_bytes_min + 7));
        ends.sender.add(byte_view(plain.back()).first(7));
        ends.sender.add_last(payload::copy_of(byte_view(plain.back()).subspan(7)));
        ends.sender.finish(true);
        if (i == bad) at = ends.sender.finished() - 100;
      }
      byte_vector stream = ends.sender.take(&crew);
      stream[at] ^= std::byte{1};
      byte_view input = stream;
      for (std::size_t i = 0; i < bad; ++i) {
        auto record = ends.receiver.next(input, nullptr, &crew);
        REQUIRE(record);
        REQUIRE(record->has_value());
        CHECK(equal(**record, plain[i]));
      }
      CHECK(ends.receiver.next(input, nullptr, &crew).error().code() == errc::authentication);
      CHECK(ends.receiver.next(input, nullptr, &crew).error().code() == errc::authentication);
    }
  }
}
