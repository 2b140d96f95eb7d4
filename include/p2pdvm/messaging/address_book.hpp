/// Who is known, and where: public keys and addresses of peers.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>

#include <cstdint>
#include <map>
#include <vector>

namespace p2pdvm::messaging {

inline constexpr std::size_t contacts_max = 16384;
inline constexpr std::size_t contact_addresses_max = 8;

/// What it takes to reach a peer.
struct contact {
  public_key key;
  std::vector<address> addresses;  ///< the likeliest first
  template <class F>
  void fields(F&& f) {
    f(key), f(addresses);
  }
};

/// Bounded; the contact that was longest unused makes room.
class address_book {
 public:
  /// Adds what is new behind what is known; `authentication` when the key is not a valid one.
  [[nodiscard]] result<node_id> learn(const contact& who);
  /// Null when unknown; valid until the next change.
  [[nodiscard]] const contact* find(const node_id& node);
  /// This address has worked: it is tried first from now on.
  void confirm(const node_id& node, const address& where);
  void forget(const node_id& node);
  [[nodiscard]] std::vector<contact> all() const;
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct entry {
    contact who;
    std::uint64_t used = 0;
  };
  void make_room();

  std::map<node_id, entry> entries_;
  std::uint64_t uses_ = 0;
};

}  // namespace p2pdvm::messaging

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/messaging/impl/address_book.ipp>
#endif
