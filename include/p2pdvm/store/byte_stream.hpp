/// Bytes that are written once, from the beginning, and read anywhere: of one file, or of a file in parts.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/host/host.hpp>

#include <cstddef>
#include <cstdint>

namespace p2pdvm::store {

class byte_sink {
 public:
  virtual ~byte_sink() = default;
  /// Errors: `no_space`, `io`.
  [[nodiscard]] virtual result<> add(byte_view bytes) = 0;
};

class byte_source {
 public:
  virtual ~byte_source() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// As `host::file::read`.
  [[nodiscard]] virtual result<std::size_t> read(std::uint64_t offset, byte_span into) = 0;
};

/// Of an empty file that outlives it.
class file_sink final : public byte_sink {
 public:
  explicit file_sink(host::file& to) : to_(to) {}
  [[nodiscard]] result<> add(byte_view bytes) override {
    auto r = to_.write(at_, bytes);
    at_ += bytes.size();
    return r;
  }

 private:
  host::file& to_;
  std::uint64_t at_ = 0;
};

/// Of a file that outlives it.
class file_source final : public byte_source {
 public:
  explicit file_source(host::file& from) : from_(from) {}
  [[nodiscard]] std::uint64_t size() const override { return from_.size(); }
  [[nodiscard]] result<std::size_t> read(std::uint64_t offset, byte_span into) override { return from_.read(offset, into); }

 private:
  host::file& from_;
};

}  // namespace p2pdvm::store
