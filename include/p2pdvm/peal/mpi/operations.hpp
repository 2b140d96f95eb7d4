/// Function objects for reductions.
#pragma once

#include <cstdint>
#include <type_traits>

namespace p2pdvm::mpi {

/// A reduction applies `op(left, right)` to neighbouring parts in rank order, in a bracketing
/// that depends on the number of ranks only: an operation must be associative, need not be
/// commutative, and a floating-point sum has the same bits every time. Your own operations are
/// function objects of the same form; like these they must be trivially destructible, so
/// capture by reference.
struct plus {
  static constexpr std::uint16_t code = 1;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a + b);
  }
};
struct multiplies {
  static constexpr std::uint16_t code = 2;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a * b);
  }
};
struct minimum {
  static constexpr std::uint16_t code = 3;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return b < a ? b : a;
  }
};
struct maximum {
  static constexpr std::uint16_t code = 4;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return a < b ? b : a;
  }
};
struct logical_and {
  static constexpr std::uint16_t code = 5;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a && b);
  }
};
struct logical_or {
  static constexpr std::uint16_t code = 6;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a || b);
  }
};
struct bit_and {
  static constexpr std::uint16_t code = 7;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a & b);
  }
};
struct bit_or {
  static constexpr std::uint16_t code = 8;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a | b);
  }
};
struct bit_xor {
  static constexpr std::uint16_t code = 9;
  template <class T>
  T operator()(const T& a, const T& b) const {
    return static_cast<T>(a ^ b);
  }
};

/// A value and who has it, for `minimum_location` and `maximum_location`, which prefer the lower
/// location among equals.
template <class T>
struct located {
  T value{};
  int location = 0;
};
struct minimum_location {
  static constexpr std::uint16_t code = 10;
  template <class T>
  located<T> operator()(const located<T>& a, const located<T>& b) const {
    if (b.value < a.value) return b;
    if (a.value < b.value) return a;
    return b.location < a.location ? b : a;
  }
};
struct maximum_location {
  static constexpr std::uint16_t code = 11;
  template <class T>
  located<T> operator()(const located<T>& a, const located<T>& b) const {
    if (a.value < b.value) return b;
    if (b.value < a.value) return a;
    return b.location < a.location ? b : a;
  }
};

namespace detail {

template <class Op>
[[nodiscard]] constexpr std::uint8_t reduction_code() {
  if constexpr (requires { Op::code; }) {
    return Op::code;
  } else {
    return 0;
  }
}

}  // namespace detail

}  // namespace p2pdvm::mpi
