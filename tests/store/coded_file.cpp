#include "crash_disk.hpp"
#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/coded_file.hpp>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::store;

TEST_CASE("the shape of a code is read from text", "[store]") {
  CHECK(parse_code_shape("4+2") == code_shape{4, 2});
  CHECK(parse_code_shape("1+1") == code_shape{1, 1});
  CHECK(parse_code_shape("28+4") == code_shape{28, 4});
  for (const char* text : {"", "4", "4+", "+2", "0+2", "4+0", "4+2 ", " 4+2", "4+-2", "29+4", "4+2+1", "4294967300+2", "x+y"}) {
    INFO(text);
    CHECK_FALSE(parse_code_shape(text).has_value());
  }
}

#if defined(P2PDVM_WITH_ISAL)

namespace {

constexpr part_set set_of(std::uint8_t n) { return {std::byte{n}, std::byte{7}}; }

byte_vector random_bytes(std::size_t count, std::uint64_t seed) {
  random_generator random(seed);
  byte_vector bytes(count);
  for (std::byte& b : bytes) b = std::byte(random() & 0xff);
  return bytes;
}

/// The parts of a file, on a disk of their own.
class coded_parts {
 public:
  coded_parts(code_shape shape, byte_view content, std::uint8_t set = 1) {
    std::vector<host::file*> to;
    for (unsigned i = 0; i < shape.parts(); ++i) {
      files.push_back(disk_.open(name(i), true).value());
      to.push_back(files.back().get());
    }
    coded_writer out(shape, set_of(set), to);
    // In pieces of any size.
    random_generator random(9);
    while (!content.empty()) {
      const std::size_t n = std::min<std::size_t>(content.size(), 1 + random.below(150'000));
      REQUIRE(out.add(content.first(n)).ok());
      content = content.subspan(n);
    }
    REQUIRE(out.finish().ok());
    std::uint64_t bytes = 0;
    for (const auto& f : files) bytes += f->size();
    CHECK(out.bytes() == bytes);
  }
  static std::string name(unsigned part) { return "part " + std::to_string(part); }
  [[nodiscard]] result<std::unique_ptr<coded_file>> open(const std::vector<unsigned>& parts) const {
    std::vector<coded_file::part> list;
    for (const unsigned i : parts) list.push_back({name(i), files[i].get()});
    return coded_file::open(std::move(list));
  }
  /// Changes one bit.
  void spoil(unsigned part, std::uint64_t offset) const {
    std::byte b{};
    REQUIRE(files[part]->read(offset, byte_span(&b, 1)).value() == 1);
    b ^= std::byte{4};
    REQUIRE(files[part]->write(offset, byte_view(&b, 1)).ok());
  }

  std::vector<std::unique_ptr<host::file>> files;

 private:
  crash::disk disk_;
};

constexpr std::uint64_t head_bytes = 16 + 4 + 3 + 16 + 8 + 16;
constexpr std::uint64_t record_bytes = 16 + coded_fragment_bytes;

bool holds(coded_file& file, byte_view content) {
  byte_vector all(content.size() + 10);
  const auto got = file.read(0, all);
  return file.size() == content.size() && got.ok() && *got == content.size() &&
         std::equal(content.begin(), content.end(), all.begin());
}

/// All choices of `count` of the numbers below `all`.
std::vector<std::vector<unsigned>> choices(unsigned all, unsigned count) {
  std::vector<std::vector<unsigned>> found;
  for (std::uint32_t bits = 0; bits < 1u << all; ++bits) {
    std::vector<unsigned> some;
    for (unsigned i = 0; i < all; ++i) {
      if ((bits >> i & 1) != 0) some.push_back(i);
    }
    if (some.size() == count) found.push_back(some);
  }
  return found;
}

}  // namespace

TEST_CASE("any k parts give the file back", "[store]") {
  for (const code_shape shape : {code_shape{1, 1}, code_shape{2, 1}, code_shape{1, 3}, code_shape{4, 2}, code_shape{3, 3}, code_shape{5, 4}}) {
    const std::size_t stripe = shape.data * coded_fragment_bytes;
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, coded_fragment_bytes, stripe - 1, stripe, stripe + 1, 2 * stripe + 70'001}) {
      const byte_vector content = random_bytes(bytes, bytes + shape.parity);
      const coded_parts parts(shape, content);
      for (const auto& some : choices(shape.parts(), shape.data)) {
        auto file = parts.open(some);
        REQUIRE(file.ok());
        CHECK(holds(**file, content));
        CHECK((*file)->losses().size() == shape.parity);
      }
    }
  }
}

TEST_CASE("parts are read in any order and at any place", "[store]") {
  const byte_vector content = random_bytes(1'000'003, 3);
  const coded_parts parts({4, 2}, content);
  auto file = parts.open({5, 3, 0, 4});
  REQUIRE(file.ok());
  random_generator random(4);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t offset = random.below(content.size() + 100);
    byte_vector some(random.below(200'000));
    const std::size_t there = offset >= content.size() ? 0 : std::min<std::size_t>(some.size(), content.size() - offset);
    REQUIRE((*file)->read(offset, some).value() == there);
    CHECK(std::equal(some.begin(), some.begin() + static_cast<std::ptrdiff_t>(there), content.begin() + static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(offset, content.size()))));
  }
}

TEST_CASE("damage in each part is mended while no stripe has too much of it", "[store]") {
  const byte_vector content = random_bytes(6 * 4 * coded_fragment_bytes - 77, 5);
  const coded_parts parts({4, 2}, content);
  // Two parts of each of the six stripes, all six parts in turn.
  std::set<unsigned> touched;
  for (unsigned stripe = 0; stripe < 6; ++stripe) {
    for (const unsigned part : {stripe, (stripe + 1) % 6}) {
      parts.spoil(part, head_bytes + stripe * record_bytes + 17 * (part + 1));
      touched.insert(part);
    }
  }
  REQUIRE(touched.size() == 6);
  auto file = parts.open({0, 1, 2, 3, 4, 5});
  REQUIRE(file.ok());
  CHECK((*file)->losses().empty());  // nothing was read so far
  (*file)->verify();
  REQUIRE((*file)->losses().size() == 6);
  for (unsigned i = 0; i < 6; ++i) CHECK((*file)->losses()[i] == "'part " + std::to_string(i) + "' is damaged in 2 of 6 places");
  CHECK(holds(**file, content));
  // A third one in one stripe is too much, for what of it was lost.
  parts.spoil(4, head_bytes + 2 * record_bytes);
  auto worse = parts.open({0, 1, 2, 3, 4, 5});
  REQUIRE(worse.ok());
  byte_vector all(content.size());
  const auto got = (*worse)->read(0, all);
  REQUIRE(got.error().code() == errc::corrupted);
  CHECK(got.error().message() == "at byte 524288 only 3 of the 6 parts are there and undamaged, and 4 are needed; name more parts, "
                                 "or copy the damaged ones again");
  byte_vector before(2 * 4 * coded_fragment_bytes);
  CHECK((*worse)->read(0, before).ok());
  CHECK((*worse)->read(3 * 4 * coded_fragment_bytes, before).ok());
}

TEST_CASE("a part that was cut off counts as damaged from there on", "[store]") {
  const byte_vector content = random_bytes(5 * 2 * coded_fragment_bytes, 6);
  const coded_parts parts({2, 1}, content);
  REQUIRE(parts.files[0]->truncate(head_bytes + 2 * record_bytes + 100).ok());
  auto file = parts.open({0, 1, 2});
  REQUIRE(file.ok());
  CHECK(holds(**file, content));
  REQUIRE((*file)->losses().size() == 1);
  CHECK((*file)->losses()[0] == "'part 0' is damaged in 3 of 5 places");
}

TEST_CASE("parts that do not belong together, or are no parts, are refused with a sentence", "[store]") {
  const byte_vector content = random_bytes(300'000, 7);
  const coded_parts parts({3, 2}, content), others({3, 2}, content, 2);
  const auto too_few = parts.open({1, 4});
  CHECK(too_few.error().code() == errc::not_found);
  CHECK(too_few.error().message() == "of this file's 5 parts any 3 are enough, and only 2 were named; name 1 more of parts 1, 3, 4");
  CHECK(parts.open({}).error().code() == errc::not_found);
  CHECK(parts.open({1, 1, 2}).error().message() == "'part 1' and 'part 1' are the same part; name another one");
  const auto mixed = coded_file::open({{"a", parts.files[0].get()}, {"b", parts.files[1].get()}, {"c", others.files[2].get()}});
  CHECK(mixed.error().code() == errc::conflict);
  CHECK(mixed.error().message() == "'a' and 'c' are parts of different files");
  // Every bit of the head matters, and no text passes for one.
  for (std::uint64_t at = 0; at < head_bytes; ++at) {
    INFO(at);
    parts.spoil(1, at);
    CHECK_FALSE(parts.open({0, 1, 2}).ok());
    CHECK(coded_file::is_part(*parts.files[1]) == (at >= 16));
    parts.spoil(1, at);
  }
  CHECK(parts.open({0, 1, 2}).ok());
  for (const std::uint64_t cut : {std::uint64_t{0}, std::uint64_t{10}, std::uint64_t{40}, head_bytes - 1}) {
    const coded_parts shorter({3, 2}, content);
    REQUIRE(shorter.files[1]->truncate(cut).ok());
    CHECK(shorter.open({0, 1, 2}).error().code() == errc::malformed);
  }
}

TEST_CASE("parts whose writing was not finished are no parts", "[store]") {
  crash::disk disk;
  std::vector<std::unique_ptr<host::file>> files;
  std::vector<host::file*> to;
  for (const char* name : {"a", "b"}) {
    files.push_back(disk.open(name, true).value());
    to.push_back(files.back().get());
  }
  coded_writer out({1, 1}, set_of(1), to);
  REQUIRE(out.add(random_bytes(200'000, 8)).ok());
  CHECK_FALSE(coded_file::is_part(*files[0]));
  REQUIRE(out.finish().ok());
  CHECK(coded_file::is_part(*files[0]));
}

TEST_CASE("a full disk is told where parts are written", "[store]") {
  crash::disk disk;
  disk.capacity = 300'000;
  std::vector<std::unique_ptr<host::file>> files;
  std::vector<host::file*> to;
  for (const char* name : {"a", "b", "c"}) {
    files.push_back(disk.open(name, true).value());
    to.push_back(files.back().get());
  }
  coded_writer out({2, 1}, set_of(1), to);
  CHECK(out.add(random_bytes(1'000'000, 8)).error().code() == errc::no_space);
}

#else

TEST_CASE("without ISA-L parts are refused with a sentence that says what is missing", "[store]") {
  CHECK_FALSE(codes_available());
  crash::disk disk;
  const auto a = disk.open("a", true).value(), b = disk.open("b", true).value();
  coded_writer out({1, 1}, {}, {a.get(), b.get()});
  const byte_vector some(10);
  const auto refused = out.add(some);
  CHECK(refused.error().code() == errc::incompatible);
  CHECK(refused.error().message().find("libisal-dev") != std::string::npos);
  CHECK(out.finish().error().code() == errc::incompatible);
}

#endif
