/// Pairs of strings that programs give as hints.
#pragma once

#include "object.hpp"

#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::c_mpi {

class info final : public object {
 public:
  info() = default;
  explicit info(std::vector<std::pair<std::string, std::string>> pairs) : pairs_(std::move(pairs)) {}
  [[nodiscard]] const std::string* find(const std::string& key) const;
  void set(const std::string& key, std::string value);
  bool erase(const std::string& key);
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& pairs() const noexcept { return pairs_; }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;  ///< in the order of their first setting
};
[[nodiscard]] info& info_of(MPI_Info handle);
/// Null for MPI_INFO_NULL.
[[nodiscard]] info* info_or_none(MPI_Info handle);
[[nodiscard]] MPI_Info new_handle(ref<info> made);

}  // namespace p2pdvm::c_mpi
