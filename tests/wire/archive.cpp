#include "support/test.hpp"

#include <p2pdvm/wire/archive.hpp>

using namespace p2pdvm;

namespace {
struct body {
  double mass = 0;
  std::vector<std::string> names;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(mass, names);
  }
};
}  // namespace

TEST_CASE("state survives saving and loading") {
  std::map<std::string, std::vector<body>> state;
  state["planets"] = {body{1.5, {"earth", "terra"}}, body{0.1, {}}};
  const byte_vector bytes = wire::save(state);
  std::map<std::string, std::vector<body>> back;
  REQUIRE(wire::load(bytes, back).ok());
  CHECK(back["planets"].at(0).names.at(1) == "terra");
  CHECK(wire::save(back) == bytes);
  CHECK(bytes.size() == 8 + 8 + 7 + 8 + (8 + 8 + 8 + 5 + 8 + 5) + (8 + 8));
}

TEST_CASE("truncated and lying state is refused without allocating for it") {
  const byte_vector bytes = wire::save(std::vector<double>(100, 1.0));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    std::vector<double> back;
    CHECK_FALSE(wire::load(byte_view(bytes).first(n), back).ok());
    CHECK(back.capacity() <= bytes.size());
  }
  const byte_vector huge(9, std::byte{0x7f});
  std::vector<std::uint64_t> back;
  CHECK_FALSE(wire::load(huge, back).ok());
  CHECK(back.capacity() == 0);
}
