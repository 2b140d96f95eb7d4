/// How values of a program become the data of messages, and back.
///
/// Contiguous ranges of trivially copyable elements (spans, vectors, arrays, strings) and single
/// trivially copyable values travel as their bytes, copied once; everything else by cereal.
#pragma once

#include <p2pdvm/peal/mpi/call.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/wire/archive.hpp>

#include <concepts>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>

namespace p2pdvm::mpi::detail {

template <class T>
concept plain = std::is_trivially_copyable_v<T> && std::default_initializable<T> &&
                !std::is_pointer_v<T> && !std::is_const_v<T>;

template <class R>
concept bulk = std::ranges::contiguous_range<R> && std::ranges::sized_range<R> &&
               plain<std::ranges::range_value_t<R>>;

template <class R>
concept resizable = bulk<R> && requires(R& r) { r.resize(std::size_t{1}); };

/// GCC 12 destroys such a temporary twice inside a `co_await` expression.
template <class T>
inline constexpr bool unsafe_temporary =
    !std::is_lvalue_reference_v<T> && std::is_aggregate_v<std::remove_cvref_t<T>> &&
    !std::is_trivially_destructible_v<std::remove_cvref_t<T>>;

template <class T>
constexpr void check_argument() {
  static_assert(!unsafe_temporary<T>,
                "name this value first and pass the name: GCC 12 destroys temporary aggregates "
                "in a co_await expression twice");
  static_assert(!std::is_pointer_v<std::remove_cvref_t<T>>,
                "a pointer means nothing to another rank: pass a span");
}
template <class Op>
constexpr void check_reduction() {
  static_assert(std::is_trivially_destructible_v<Op>,
                "a reduction operation must be trivially destructible: capture by reference");
}

/// String literals without their final zero; everything else as it is.
template <class T>
[[nodiscard]] const T& natural(const T& value) {
  return value;
}
template <std::size_t N>
[[nodiscard]] std::string_view natural(const char (&literal)[N]) {
  return {literal, N > 0 && literal[N - 1] == '\0' ? N - 1 : N};
}

/// Of a range, or of one value.
template <class T>
inline constexpr std::uint32_t element_bytes = sizeof(T);
template <bulk T>
inline constexpr std::uint32_t element_bytes<T> = sizeof(std::ranges::range_value_t<T>);

template <class T>
[[nodiscard]] call describe(const call& c) {
  if constexpr (bulk<T> || plain<T>) {
    return c.with_data(format::elements, element_bytes<T>);
  } else {
    return c.with_data(format::serialised, 0);
  }
}

/// Bytes of a range or a single value that is copied as it is.
template <class T>
  requires bulk<T> || plain<T>
[[nodiscard]] byte_view view_of(const T& value) {
  if constexpr (bulk<T>) {
    return std::as_bytes(std::span(std::ranges::data(value), std::ranges::size(value)));
  } else {
    return bytes_of(value);
  }
}

/// Appends the data of a value.
template <class T>
void append_data(byte_vector& out, const T& value) {
  if constexpr (bulk<T> || plain<T>) {
    append(out, view_of(value));
  } else {
    wire::output_archive archive(out);
    archive(value);
  }
}

/// A whole message: head and data, copied once.
[[nodiscard]] inline payload message_of(const message_head& head, byte_view data) {
  return payload::copy_of(bytes_of(head), data);
}
template <class T>
[[nodiscard]] payload message_with(const call& c, const T& value) {
  const message_head head = describe<T>(c).head;
  if constexpr (bulk<T> || plain<T>) {
    return message_of(head, view_of(value));
  } else {
    byte_vector out(to_vector(bytes_of(head)));
    append_data(out, value);
    return payload(std::move(out));
  }
}

/// A message that arrived for a call, its head checked to be one.
struct incoming {
  message_head head;
  byte_view data;
  int source = 0;      ///< in the communicator
  int job_source = 0;  ///< in the job
  peal::rank* at = nullptr;  ///< who got it
  /// "rank 3", or "rank 3 (rank 7 of the job)"
  [[nodiscard]] std::string from() const;
  /// "bcast, root 0 (solver.cpp:41)": the call that sent it.
  [[nodiscard]] std::string call_text(const call& mine) const;
};
[[nodiscard]] std::string rank_text(int rank, int job_rank);

/// The receiver's view of the mistakes: explains what does not fit. `exact`: no shorter either.
void check_elements(const call& mine, const incoming& got, std::size_t capacity, bool exact);
void check_format(const call& mine, const incoming& got);
[[noreturn]] void refuse_serialised(const call& mine, const incoming& got, const error& why);

template <class T>
void load_object(const call& mine, const incoming& got, T& value) {
  check_format(mine, got);
  const auto loaded = wire::load(got.data, value);
  if (!loaded.ok()) refuse_serialised(mine, got, loaded.error());
}

struct target;

/// What all targets of one type of the program have in common.
struct target_type {
  format form;
  std::uint32_t element_bytes;
  /// Its memory takes the data as they are, up to its capacity,
  bool flat;
  /// and must be filled.
  bool exact;
  void (*place)(const target&, const call&, const incoming&, bool exact);
  payload (*message)(const target&, const call&);
};

/// Where a receive writes; trivially destructible, and small, since it goes into frames. The referent must live
/// until the receive is done.
struct target {
  void* object = nullptr;
  std::size_t capacity = 0;  ///< elements, of a range of fixed size
  const target_type* type = nullptr;

  [[nodiscard]] call describe(const call& c) const {
    return c.with_data(type->form, type->element_bytes);
  }
  void place(const call& mine, const incoming& got, bool exact) const {
    type->place(*this, mine, got, exact);
  }
  [[nodiscard]] payload message(const call& mine) const { return type->message(*this, mine); }
};

/// A range of fixed size, or one value as such a range that must be filled.
template <class T, bool Single>
void place_range(const target& self, const call& mine, const incoming& got, bool exact) {
  check_elements(mine, got, self.capacity, exact || Single);
  // The data may be there already.
  if (!got.data.empty()) std::memmove(self.object, got.data.data(), got.data.size());
}
template <class T>
[[nodiscard]] payload range_message(const target& self, const call& c) {
  const auto* const first = static_cast<const std::byte*>(self.object);
  return message_of(self.describe(c).head, byte_view(first, self.capacity * sizeof(T)));
}
template <class T, bool Single>
inline constexpr target_type range_type{format::elements, sizeof(T), true, Single,
                                        place_range<T, Single>, range_message<T>};
template <class T>
[[nodiscard]] target target_range(std::span<T> values) {
  return {values.data(), values.size(), &range_type<T, false>};
}

template <class R>
void place_resizable(const target& self, const call& mine, const incoming& got, bool) {
  check_elements(mine, got, SIZE_MAX, false);
  R& into = *static_cast<R*>(self.object);
  into.resize(got.data.size() / sizeof(std::ranges::range_value_t<R>));
  if (!got.data.empty()) std::memcpy(into.data(), got.data.data(), got.data.size());
}
template <class T>
[[nodiscard]] payload object_message(const target& self, const call& c) {
  return message_with(c, *static_cast<const T*>(self.object));
}
template <class R>
inline constexpr target_type resizable_type{format::elements, sizeof(std::ranges::range_value_t<R>),
                                            false, false, place_resizable<R>, object_message<R>};

template <class T>
void place_object(const target& self, const call& mine, const incoming& got, bool) {
  load_object(mine, got, *static_cast<T*>(self.object));
}
template <class T>
inline constexpr target_type object_type{format::serialised, 0, false, false, place_object<T>,
                                         object_message<T>};

template <class T>
[[nodiscard]] target target_of(T&& into) {
  using value = std::remove_reference_t<T>;
  static_assert(!std::is_const_v<value>, "this is written to: it must not be const");
  static_assert(std::is_lvalue_reference_v<T> || std::ranges::borrowed_range<value>,
                "this is written to after the call: name it first");
  if constexpr (resizable<value>) {
    return {&into, 0, &resizable_type<value>};
  } else if constexpr (bulk<value>) {
    static_assert(!std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<value>>>,
                  "this is written to: its elements must not be const");
    return target_range(std::span(std::ranges::data(into), std::ranges::size(into)));
  } else if constexpr (plain<value>) {
    return {&into, 1, &range_type<value, true>};
  } else {
    return {&into, 0, &object_type<value>};
  }
}

}  // namespace p2pdvm::mpi::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/data.ipp>
#endif
