/// The header of the message after another, as it is encoded when nothing but its number has changed.
#pragma once

#include <p2pdvm/messaging/rank_message.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <array>
#include <cstddef>
#include <cstring>

namespace p2pdvm::messaging {

/// For either side: most messages of a run follow another, and then nothing is encoded or decoded.
class next_header {
 public:
  /// `encoded`: of `header`, which is the one before.
  void follow(byte_view encoded, const rank_message_header& header) {
    wire::detail::size_counter front, number;
    front.number(header.incarnation), front.number(header.epoch);
    front.number(header.source), front.number(header.destination);
    number.number(header.sequence);
    size_ = encoded.size();
    std::memcpy(bytes_.data(), encoded.data(), size_);
    number_ = front.bytes();
    number_end_ = number_ + number.bytes();
    count();
  }
  /// Another one has gone by. Without a header from then on when its number needs more bytes.
  void count() {
    for (std::size_t i = number_; i < number_end_; ++i) {
      const bool last = i + 1 == number_end_;
      const unsigned digit = (std::to_integer<unsigned>(bytes_[i]) & 0x7f) + 1;
      bytes_[i] = static_cast<std::byte>((digit & 0x7f) | (last ? 0 : 0x80));
      if (digit <= 0x7f) return;
    }
    size_ = 0;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] byte_view view() const noexcept { return byte_view(bytes_).first(size_); }
  [[nodiscard]] bool begins(byte_view message) const noexcept {
    return size_ > 0 && message.size() >= size_ && std::memcmp(message.data(), bytes_.data(), size_) == 0;
  }

 private:
  std::array<std::byte, rank_message_header::encoded_bytes_max> bytes_;
  std::size_t size_ = 0, number_ = 0, number_end_ = 0;
};

}  // namespace p2pdvm::messaging
