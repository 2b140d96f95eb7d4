/// BSPlib in this process: what bsp_begin begins and bsp_end ends, and what is registered between them.
#pragma once

#include "../../common/c_program.hpp"

#include <p2pdvm/peal/bsp/world.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::c_bsp {

using bsp::detail::place;

/// Ends the process: what the program did is not allowed. The sentence begins with the call and where it stands.
[[noreturn]] void refuse(const std::string& sentence);

/// What a superstep changes of what is registered and of tags, in the order of the calls, so that all can be held against each other.
struct changes {
  struct change {
    bool pops = false;
    /// Of the registration, counted from the beginning; ascending, where NULL is taken back: all that may be meant.
    std::vector<std::uint32_t> numbers;
    template <class F>
    void fields(F&& f) {
      f(pops), f(numbers);
    }
  };
  std::vector<change> list;
  std::uint32_t tag_sizes = 0;  ///< calls of bsp_set_tagsize
  std::uint64_t tag_bytes = 0;  ///< from the next superstep on
  template <class F>
  void fields(F&& f) {
    f(list), f(tag_sizes), f(tag_bytes);
  }
};

class program {
 public:
  void init(void (*spmd)(), const place& where);
  void begin(int most, const place& where);
  void end(const place& where);
  [[noreturn]] void abort(const std::string& sentence);
  /// This process knows which one it is.
  [[nodiscard]] bool begun() const noexcept { return phase_ != phase::before; }
  [[nodiscard]] int processes();
  [[nodiscard]] int pid();
  [[nodiscard]] double seconds() const;
  void sync(const place& where);

  void push(const void* ident, std::size_t bytes);
  void pop(const void* ident);
  void put(int pid, const void* from, const void* to, std::size_t offset, std::size_t bytes, const place& where);
  void get(int pid, const void* from, std::size_t offset, void* to, std::size_t bytes, const place& where);

  [[nodiscard]] std::size_t set_tag_bytes(std::size_t bytes);
  void send(int pid, const void* tag, const void* data, std::size_t bytes, const place& where);
  struct queue_size {
    std::size_t messages = 0, bytes = 0;
  };
  [[nodiscard]] queue_size queued() const;
  struct front_message {
    const std::byte* data;
    std::size_t bytes;
    const std::byte* tag;
    std::size_t tag_bytes;
  };
  /// Valid until the end of the superstep.
  [[nodiscard]] std::optional<front_message> front() const;
  void remove_front();
  /// The same bytes where doubles, pointers and long integers are aligned.
  [[nodiscard]] void* aligned(const std::byte* bytes, std::size_t count);

  /// Throws when the parallel part has not begun, or has ended.
  void check_running() const;
  [[nodiscard]] std::optional<compat::checkpointed> checkpointed() noexcept {
    if (phase_ != phase::parallel) return std::nullopt;
    return compat::checkpointed{&peer_, world_->size()};
  }

 private:
  /// What one process knows by one address.
  struct registration final : bsp::detail::registered {
    registration(const void* address, std::size_t size, std::uint32_t count)
        : ident(static_cast<std::byte*>(const_cast<void*>(address))), bytes(size), number(count) {}
    byte_span memory() override { return {ident, bytes}; }
    [[nodiscard]] std::size_t element_bytes() const noexcept override { return 1; }
    std::byte* ident;
    std::size_t bytes;
    std::uint32_t number;     ///< how many were registered before it
    std::uint32_t slot = 0;   ///< of the world, once it counts
  };
  class agreement;

  enum class phase : std::uint8_t { before, available, parallel, after };
  void take_part();
  void leave();
  [[nodiscard]] int agreed(int most, const place& where);
  [[nodiscard]] const registration& registered(const void* ident) const;
  /// Those of `ident` that were not taken back, counting what this superstep changes, in order.
  [[nodiscard]] std::vector<std::uint32_t> numbers_of(const void* ident) const;
  void apply(const changes& agreed);

  phase phase_ = phase::before;
  compat::c_program peer_;
  std::optional<bsp::world> all_;    ///< until it is known who takes part
  std::optional<bsp::world> world_;  ///< of those that do
  int processes_ = 0;  ///< also after the end
  double begun_ = 0;
  std::vector<std::unique_ptr<registration>> registrations_;  ///< in the order of their numbers
  std::vector<std::unique_ptr<registration>> pushed_;         ///< in this superstep
  changes changes_;
  std::uint32_t pushes_ = 0;
  std::size_t tag_bytes_ = 0;
  std::size_t removed_ = 0;        ///< of the world's messages
  std::size_t queued_bytes_ = 0;   ///< of the others
  using word = std::uint64_t;
  std::vector<std::unique_ptr<word[]>> copies_;
};

[[nodiscard]] program& here() noexcept;

}  // namespace p2pdvm::c_bsp
