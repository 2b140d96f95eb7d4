/// The events that a child process reports through a descriptor, taken apart again.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/runtime/event.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <cerrno>
#include <cstring>
#include <optional>

#include <unistd.h>

namespace p2pdvm::runtime {

/// Each is its length in four bytes, and the encoded event.
class event_frames {
 public:
  /// Reads what there is from a descriptor that does not block; false when its other end is closed.
  [[nodiscard]] bool read(int fd) {
    std::byte block[1 << 14];
    for (;;) {
      const ssize_t n = ::read(fd, block, sizeof block);
      if (n > 0) {
        append(pending_, byte_view(block, static_cast<std::size_t>(n)));
        continue;
      }
      if (n < 0 && errno == EINTR) continue;
      return n < 0 && errno == EAGAIN;
    }
  }
  /// The next of them that is whole; what cannot be decoded is left out.
  [[nodiscard]] std::optional<event> next() {
    while (pending_.size() - at_ >= 4) {
      std::uint32_t size = 0;
      std::memcpy(&size, pending_.data() + at_, 4);
      if (pending_.size() - at_ - 4 < size) break;
      auto e = wire::decode<event>(byte_view(pending_).subspan(at_ + 4, size));
      at_ += 4 + size;
      if (e.ok()) return std::move(*e);
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(std::exchange(at_, 0)));
    return std::nullopt;
  }

 private:
  byte_vector pending_;
  std::size_t at_ = 0;
};

}  // namespace p2pdvm::runtime
