/// spoil_store: damages a peer's store as a failing disk would; no p2pdvm program may have it open.
///
///     spoil_store pieces FOLDER    one byte in each sealed piece of a checkpoint or an input
///     spoil_store values FOLDER    one byte in each record of a value: the job, a keeper's state
///
/// Prints how many records it damaged.

#include <p2pdvm/host/native/disk.hpp>
#include <p2pdvm/store/segment_format.hpp>

#include <asio/io_context.hpp>  // lint-allow(asio-include): the real disk wants one
#include <fmt/core.h>

#include <filesystem>
#include <string>
#include <string_view>

using namespace p2pdvm;

namespace {

/// In its middle: of a piece that is sealed bytes, of a short record its head or key.
result<> spoil(host::file& file, const store::segment::found_record& record) {
  const std::uint64_t where = record.at.offset + record.bytes() / 2;
  byte_vector byte(1);
  if (auto got = file.read(where, byte); !got.ok()) return got.error();
  byte[0] ^= std::byte{0x10};
  return file.write(where, byte);
}

result<int> spoil_all(host::disk& disk, store::segment::record_type which) {
  int spoilt = 0;
  auto names = disk.list("");
  if (!names.ok()) return names.error();
  for (const std::string& name : *names) {
    if (!name.ends_with(".seg")) continue;
    auto file = disk.open(name, false);
    if (!file.ok()) return file.error();
    const std::uint64_t number = std::stoull(name);
    auto header = store::segment::read_header(**file, number);
    if (!header.ok()) return header.error();
    store::segment::scanner scanner(**file, header->salt, {number, header->records_begin},
                                    (*file)->size());
    for (;;) {
      auto found = scanner.next();
      if (!found.ok()) return found.error();
      if (!*found) break;
      if ((*found)->head.type != which) continue;
      if (auto r = spoil(**file, **found); !r.ok()) return r.error();
      ++spoilt;
    }
  }
  return spoilt;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  asio::io_context io;
  native::disk disk(io, std::filesystem::path(argv[2]) / "store");
  const bool pieces = std::string_view(argv[1]) == "pieces";
  const auto spoilt = spoil_all(
      disk, pieces ? store::segment::record_type::chunk : store::segment::record_type::value);
  if (!spoilt.ok()) {
    fmt::print(stderr, "spoil_store: {}\n", spoilt.error().message());
    return 1;
  }
  fmt::print("{}\n", *spoilt);
}
