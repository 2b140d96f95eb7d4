#include "support/test.hpp"

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/wire/codec.hpp>

using namespace p2pdvm;

namespace {

struct sample {
  std::uint32_t number = 0;
  std::string text;
  std::vector<epoch_number> epochs;
  std::map<rank_number, byte_vector> blobs;
  std::optional<node_id> node;
  std::variant<std::monostate, std::string, std::pair<bool, double>> choice;
  address where;
  template <class F>
  void fields(F&& f) {
    f(number), f(text), f(epochs), f(blobs), f(node), f(choice), f(where);
  }
};

sample make() {
  sample s;
  s.number = 7;
  s.text = "seven";
  s.epochs = {epoch_number(1), epoch_number(2)};
  s.blobs[rank_number(3)] = to_vector(as_bytes("three"));
  s.node = node_id();
  s.choice = std::pair(true, 2.5);
  s.where = address::loopback(4000);
  return s;
}

}  // namespace

TEST_CASE("a message survives encoding and decoding") {
  const byte_vector bytes = wire::encode(make());
  auto back = wire::decode<sample>(bytes);
  REQUIRE(back.ok());
  CHECK(wire::encode(*back) == bytes);
  CHECK(wire::encoded_bytes(*back) == bytes.size());
  CHECK(back->blobs.at(rank_number(3)).size() == 5);
  CHECK(std::get<2>(back->choice).second == 2.5);
  CHECK(back->where.text() == "127.0.0.1:4000");
}

TEST_CASE("every truncation of a message is refused") {
  const byte_vector bytes = wire::encode(make());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CHECK_FALSE(wire::decode<sample>(byte_view(bytes).first(n)).ok());
  }
}

TEST_CASE("trailing bytes, padded sizes and sizes beyond the data are refused") {
  byte_vector bytes = wire::encode(make());
  bytes.push_back(std::byte{0});
  CHECK_FALSE(wire::decode<sample>(bytes).ok());
  const byte_vector padded = {std::byte{0x81}, std::byte{0x00}, std::byte{1}};
  CHECK_FALSE(wire::decode<byte_vector>(padded).ok());
  const byte_vector huge(9, std::byte{0xff});
  CHECK_FALSE(wire::decode<std::vector<std::uint64_t>>(huge).ok());
}

TEST_CASE("random damage never crashes the decoder and never yields other bytes for the same value") {
  random_generator random(1);
  const byte_vector bytes = wire::encode(make());
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    byte_vector damaged = bytes;
    for (std::uint64_t n = random.below(4) + 1; n > 0; --n) {
      damaged[random.below(damaged.size())] = static_cast<std::byte>(random());
    }
    auto back = wire::decode<sample>(damaged);
    if (!back.ok()) continue;
    ++accepted;
    CHECK(wire::encode(*back).size() == damaged.size());
  }
  CHECK(accepted > 0);
}
