/// A first-in-first-out queue in one growing ring: a queue that is filled and emptied again
/// allocates nothing once it has reached its size.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace p2pdvm {

/// `T` is default-constructible and movable; a place that was popped holds a moved-from `T`.
template <class T>
class ring_queue {
 public:
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The n-th from the front.
  [[nodiscard]] T& operator[](std::size_t n) noexcept { return places_[index(n)]; }
  [[nodiscard]] const T& operator[](std::size_t n) const noexcept { return places_[index(n)]; }
  [[nodiscard]] T& front() noexcept { return (*this)[0]; }
  [[nodiscard]] T& back() noexcept { return (*this)[size_ - 1]; }

  void push_back(T value) {
    if (full()) grow();
    places_[index(size_)] = std::move(value);
    ++size_;
  }
  /// A new one at the back, to be filled.
  T& append() {
    if (full()) grow();
    return places_[index(size_++)];
  }
  T pop_front() {
    P2PDVM_ASSERT(size_ > 0);
    T value = std::exchange(places_[first_], T());
    first_ = (first_ + 1) & mask_;
    --size_;
    return value;
  }
  void drop_front() {
    P2PDVM_ASSERT(size_ > 0);
    places_[first_] = T();
    first_ = (first_ + 1) & mask_;
    --size_;
  }
  void clear() noexcept {
    places_.clear();
    first_ = size_ = mask_ = 0;
  }

 private:
  static constexpr std::size_t places_min = 4;  // and always a power of two

  /// Without the number of places, which a vector divides to tell.
  [[nodiscard]] bool full() const noexcept { return size_ > mask_ || mask_ == 0; }
  [[nodiscard]] std::size_t index(std::size_t n) const noexcept {
    return (first_ + n) & mask_;
  }
  void grow() {
    std::vector<T> larger(places_.empty() ? places_min : places_.size() * 2);
    for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move((*this)[i]);
    places_ = std::move(larger);
    first_ = 0;
    mask_ = places_.size() - 1;
  }

  std::vector<T> places_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  std::size_t mask_ = 0;  ///< the number of places less one; 0: none
};

}  // namespace p2pdvm
