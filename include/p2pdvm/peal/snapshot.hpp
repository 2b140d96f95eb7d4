/// The complete state of one rank at a cut, as named pieces of bytes.
#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/payload_list.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace p2pdvm::peal {

/// Pieces keep the order in which they were added. Bulk pieces (regions) hold raw bytes and
/// are chunked at fixed places; the others are small serialised blobs.
class snapshot {
 public:
  struct piece {
    std::string name;
    /// One after another they are the piece: one of any size, or, of a bulk piece, as many as it has chunks.
    payload_list parts;
    bool bulk = false;

    [[nodiscard]] std::size_t size() const { return parts.bytes(); }
    /// Its bytes in one: a copy where it has several parts, as a bulk piece has when it was fetched from others.
    [[nodiscard]] payload whole() const {
      if (parts.size() <= 1) return parts.empty() ? payload() : parts.front();
      byte_vector all;
      all.reserve(size());
      for (const payload& p : parts) append(all, p.view());
      return payload(std::move(all));
    }
  };
  void add(std::string name, payload bytes, bool bulk = false) {
    std::vector<payload> parts;
    if (!bytes.empty()) parts.push_back(std::move(bytes));
    pieces_.push_back({std::move(name), std::move(parts), bulk});
  }
  void add(piece p) { pieces_.push_back(std::move(p)); }
  /// Null when there is no such piece.
  [[nodiscard]] const piece* find(std::string_view name) const {
    for (const piece& p : pieces_) {
      if (p.name == name) return &p;
    }
    return nullptr;
  }
  [[nodiscard]] std::size_t bytes() const {
    std::size_t all = 0;
    for (const piece& p : pieces_) all += p.size();
    return all;
  }
  [[nodiscard]] const std::vector<piece>& pieces() const noexcept { return pieces_; }

 private:
  std::vector<piece> pieces_;
};

}  // namespace p2pdvm::peal
