/// Operations of reductions, the standard's and programs' own.
#pragma once

#include "datatype.hpp"

#include <p2pdvm/peal/mpi/context.hpp>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace p2pdvm::c_mpi {

class operation final : public object {
 public:
  using kernel = void (*)(const void* left, void* right, std::size_t scalars);
  enum class code : std::uint8_t {
    own, sum, product, minimum, maximum, logical_and, logical_or, bit_and, bit_or, bit_xor, minimum_location, maximum_location, logical_xor, replace, nothing,
  };
  explicit operation(code standard) : code_(standard) {}
  operation(MPI_User_function* function, bool commutes) : function_(function), commutes_(commutes) {}
  operation(MPI_User_function_c* function, bool commutes) : large_function_(function), commutes_(commutes) {}

  [[nodiscard]] bool commutes() const noexcept { return commutes_; }
  [[nodiscard]] bool standard() const noexcept { return code_ != code::own; }
  /// As messages carry it, so that ranks find out that theirs differ.
  [[nodiscard]] std::uint8_t number() const noexcept { return static_cast<std::uint8_t>(code_); }
  /// Throws where it cannot combine such elements.
  void check(const datatype& type) const;
  /// right = left op right, of elements as they lie in memory.
  void apply(const void* left, void* right, MPI_Count count, datatype& type) const;

 private:
  code code_ = code::own;
  MPI_User_function* function_ = nullptr;
  MPI_User_function_c* large_function_ = nullptr;
  bool commutes_ = true;
};
[[nodiscard]] operation& operation_of(MPI_Op handle);

/// Memory for elements of a datatype, addressed as the program's would be.
class element_memory {
 public:
  element_memory(MPI_Count count, const datatype& type)
      : bytes_(static_cast<std::size_t>(
            count == 0 ? 0 : (count - 1) * std::abs(type.extent()) + std::max(type.true_extent(), std::abs(type.extent())))),
        at_(bytes_.data() - type.true_lower() - (type.extent() < 0 && count > 0 ? (count - 1) * type.extent() : 0)) {}
  [[nodiscard]] void* at() noexcept { return at_; }

 private:
  byte_vector bytes_;
  std::byte* at_;
};

/// Elements of this rank, as `peal/mpi` combines them.
class reduced final : public mpi::detail::accumulator {
 public:
  /// `memory`: where the elements are, and where the result will be.
  reduced(operation& op, datatype& type, void* memory, MPI_Count count);
  /// So it is there.
  void finish();

  void append_to(byte_vector& out) const override { append(out, view()); }
  [[nodiscard]] std::optional<byte_view> elements() const override { return view(); }
  void merge(const mpi::detail::call& mine, const mpi::detail::incoming& theirs, bool on_the_right) override;
  void replace(const mpi::detail::call& mine, const mpi::detail::incoming& theirs) override;
  void merge_part(const mpi::detail::call& mine, const mpi::detail::incoming& theirs, bool on_the_right, std::size_t first,
                  std::size_t count) override;
  void replace_part(const mpi::detail::call& mine, const mpi::detail::incoming& theirs, std::size_t first, std::size_t count) override;
  void fold(const mpi::detail::call& mine, const std::vector<mpi::detail::incoming>& all, std::size_t first, std::size_t count) override;
  /// Becomes what these combine to, in their order and in the bracketing of `group::reduce`.
  void fold_views(const std::vector<byte_view>& all, std::size_t first, std::size_t count);

 private:
  [[nodiscard]] byte_view view() const noexcept { return {bytes_, total_}; }
  void merge_bytes(byte_view theirs, bool on_the_right, std::size_t first, std::size_t count);
  /// right = left op right, of elements one after the other.
  void combine(const std::byte* left, std::byte* right, std::size_t count) const;
  operation& op_;
  datatype& type_;
  void* memory_;
  MPI_Count count_;
  std::size_t each_, total_;
  byte_vector copy_;  ///< where the elements do not lie one after the other
  std::byte* bytes_;
  mutable byte_vector scratch_;
};

}  // namespace p2pdvm::c_mpi
