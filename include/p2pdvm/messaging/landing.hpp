/// Large messages that are written into the memory of a posted receive while they arrive.
///
/// Whoever takes the message from the network holds a `landing`; the receive has the `landing_site`. Both may end it: the
/// writer by leaving, the receive by asking it to move out. What is written there is only what was said about it by
/// somebody who is authenticated, or may turn out not to be: until the receive is completed nobody may look at it.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace p2pdvm::messaging {

/// Writes a message that is still arriving.
class landing_guest {
 public:
  /// The memory is wanted back: when this returns the guest has left, and has copied what it needs of it.
  virtual void move_out() = 0;

 protected:
  ~landing_guest() = default;
};

/// Of a posted receive.
struct landing_site {
  landing_guest* guest = nullptr;
  /// Before the memory is used by anybody else.
  void clear() {
    if (guest != nullptr) [[unlikely]]
      guest->move_out();
  }
};

/// The guest's hold on a site; without one, none.
class landing {
 public:
  landing() = default;
  /// `memory`: for the last bytes of the message.
  landing(landing_site& site, landing_guest& guest, byte_span memory) : site_(&site), memory_(memory) {
    site.guest = &guest;
  }
  landing(landing&& other) noexcept : site_(std::exchange(other.site_, nullptr)), memory_(other.memory_) {}
  landing& operator=(landing&& other) noexcept {
    if (this == &other) return *this;
    leave();
    site_ = std::exchange(other.site_, nullptr);
    memory_ = other.memory_;
    return *this;
  }
  ~landing() { leave(); }
  void leave() noexcept {
    if (site_ != nullptr) std::exchange(site_, nullptr)->guest = nullptr;
  }
  [[nodiscard]] explicit operator bool() const noexcept { return site_ != nullptr; }
  [[nodiscard]] byte_span memory() const noexcept { return memory_; }

 private:
  landing_site* site_ = nullptr;
  byte_span memory_;
};

/// Knows where messages belong.
class landing_places {
 public:
  /// A message has begun to arrive, of which `begin` are the first bytes, as far as they are here, and `total` all.
  [[nodiscard]] virtual landing land(std::uint8_t channel, byte_view begin, std::size_t total) = 0;

 protected:
  ~landing_places() = default;
};

}  // namespace p2pdvm::messaging
