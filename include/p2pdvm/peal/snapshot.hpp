/// The complete state of one rank at a cut, as named pieces of bytes.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::peal {

/// Pieces keep the order in which they were added. Bulk pieces (regions) hold raw bytes and
/// are chunked at fixed places; the others are small serialised blobs.
class snapshot {
 public:
  struct piece {
    std::string name;
    payload bytes;
    bool bulk = false;
  };
  void add(std::string name, payload bytes, bool bulk = false) {
    pieces_.push_back({std::move(name), std::move(bytes), bulk});
  }
  /// Null when there is no such piece.
  [[nodiscard]] const piece* find(std::string_view name) const {
    for (const piece& p : pieces_) {
      if (p.name == name) return &p;
    }
    return nullptr;
  }
  [[nodiscard]] const std::vector<piece>& pieces() const noexcept { return pieces_; }

 private:
  std::vector<piece> pieces_;
};

}  // namespace p2pdvm::peal
