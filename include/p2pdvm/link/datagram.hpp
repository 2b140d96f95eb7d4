/// Sealed datagrams between peers that know each other's keys, without a handshake.
///
/// Keys come from static-static X25519, one per direction and sending process, with a counter
/// as nonce and a replay window. There is no forward secrecy, and whoever recorded datagrams of
/// an earlier process of a peer may replay them once the receiver has forgotten it: messages
/// that travel this way must be harmless when repeated, or be taken only when `current`.
///
/// On the wire: kind (1 byte), first 8 bytes of the sender's node id, its instance, the counter
/// (8 bytes each), its public key unless the receiver is believed to know it, sealed bytes: the
/// receiver's instance as far as it was confirmed to the sender (8 bytes), and the message.
#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/link/handshake.hpp>

#include <array>
#include <bitset>
#include <list>
#include <map>
#include <optional>

namespace p2pdvm::link {

inline constexpr std::size_t datagram_header_bytes = 1 + 8 + 8 + 8 + 8;
/// What a datagram carries at most; the rest is header, both instances, key and tag.
inline constexpr std::size_t datagram_plain_bytes_max = limits::datagram_bytes_max -
                                                        datagram_header_bytes - public_key::size -
                                                        crypto::tag_bytes;
inline constexpr std::size_t datagram_replay_window = 1024;
/// Peers whose keys are kept, besides those confirmed; the least recently used is forgotten.
inline constexpr std::size_t datagram_peers_max = 4096;
/// After so many datagrams without an answer the key is sent along again: the receiver may have
/// forgotten it.
inline constexpr unsigned datagram_unanswered_max = 3;

/// Accepts each counter once, and none that lies too far back.
class replay_window {
 public:
  /// Counters start at 1.
  [[nodiscard]] bool fresh(std::uint64_t counter) const noexcept;
  /// Precondition: `fresh(counter)`.
  void accept(std::uint64_t counter) noexcept;

 private:
  std::uint64_t highest_ = 0;
  std::bitset<datagram_replay_window> seen_;
};

struct opened_datagram {
  public_key from;
  byte_view plain;  ///< valid until the codec's next call, and as long as what was opened
  /// Sent by the peer's process that was confirmed last, and to this process of ours; if none
  /// was confirmed, by the one seen last.
  bool current = false;
};

/// Messages to datagrams and back. Its owner makes one call at a time.
class datagram_codec {
 public:
  virtual ~datagram_codec() = default;
  /// Valid until the next call. Errors: `too_large` over `datagram_plain_bytes_max`,
  /// `authentication` for an invalid key.
  [[nodiscard]] virtual result<byte_view> seal(const public_key& to, byte_view plain) = 0;
  /// An unknown sender costs a key agreement, which `strangers` allows. Errors: `malformed`,
  /// `authentication`, `conflict` for a replay, `not_found` for an unknown sender without key,
  /// `refused` for a stranger that is not allowed.
  [[nodiscard]] virtual result<opened_datagram> open(byte_view datagram, bool strangers) = 0;
  /// A handshake has proven that this is the peer's process now. Until `release`, the peer is not
  /// forgotten, whoever else sends, and so none of that process's datagrams is taken twice.
  virtual void confirm(const public_key& peer, std::uint64_t instance) = 0;
  virtual void release(const node_id& peer) = 0;
  /// Key agreements made so far for strangers' datagrams, for whoever rations them.
  [[nodiscard]] virtual std::uint64_t agreements() const noexcept = 0;
};

class datagram_sealer final : public datagram_codec {
 public:
  /// `self` must outlive the sealer. `instance` differs in every process of this identity, or
  /// nonces would repeat.
  datagram_sealer(const crypto::identity& self, const swarm_id& swarm, std::uint64_t instance,
                  std::size_t peers_max = datagram_peers_max);

  [[nodiscard]] result<byte_view> seal(const public_key& to, byte_view plain) override;
  [[nodiscard]] result<opened_datagram> open(byte_view datagram,
                                             bool strangers = true) override;
  void confirm(const public_key& peer, std::uint64_t instance) override;
  void release(const node_id& peer) override;
  [[nodiscard]] std::uint64_t agreements() const noexcept override { return agreements_; }
  [[nodiscard]] std::size_t peers() const noexcept { return by_hint_.size(); }

 private:
  struct inbound {
    std::uint64_t instance = 0;
    crypto::secret_key key;
    replay_window window;
  };
  struct acquaintance {
    public_key key;
    crypto::secret_key shared;
    crypto::secret_key send_key;
    std::uint64_t counter = 0;
    unsigned unanswered = datagram_unanswered_max;  ///< so that the first one carries the key
    bool confirmed = false;
    /// The remote's current process, as far as known, and another one; instance 0 is none.
    std::array<inbound, 2> processes;
  };
  using order = std::list<acquaintance>;
  struct header;

  [[nodiscard]] static std::uint64_t hint_of(const public_key& key) noexcept;
  [[nodiscard]] result<acquaintance> meet(const public_key& key) const;
  [[nodiscard]] order::iterator remember(acquaintance fresh);
  [[nodiscard]] result<order::iterator> acquainted(const public_key& key);
  void drop(order::iterator peer);
  [[nodiscard]] crypto::secret_key direction_key(const crypto::secret_key& shared,
                                                 const public_key& from, const public_key& to,
                                                 std::uint64_t instance) const;
  [[nodiscard]] result<opened_datagram> open_from(acquaintance& peer, const header& h);

  const crypto::identity& self_;
  swarm_id swarm_;
  std::uint64_t instance_;
  std::size_t peers_max_;
  crypto::secret_key secret_;
  std::uint64_t agreements_ = 0;
  std::uint64_t counter_floor_ = 0;  ///< the highest counter of any forgotten peer
  order order_;                      ///< most recently used first; none of them confirmed
  order confirmed_;
  std::map<std::uint64_t, order::iterator> by_hint_;
  byte_vector sealed_, opened_;  ///< what the last calls gave
};

/// No cipher at all, in datagrams as long as sealed ones: for simulations of more peers than
/// there is time to encrypt for. Anybody can claim to be anybody: a network that is not
/// simulated must never see it.
class clear_datagrams final : public datagram_codec {
 public:
  clear_datagrams(const public_key& self, std::uint64_t instance);
  [[nodiscard]] result<byte_view> seal(const public_key& to, byte_view plain) override;
  [[nodiscard]] result<opened_datagram> open(byte_view datagram, bool strangers) override;
  void confirm(const public_key& peer, std::uint64_t instance) override;
  void release(const node_id& peer) override;
  [[nodiscard]] std::uint64_t agreements() const noexcept override { return 0; }

 private:
  [[nodiscard]] std::uint64_t confirmed(const public_key& peer) const;

  public_key self_;
  std::uint64_t instance_;
  std::map<public_key, std::uint64_t> confirmed_;
  byte_vector sealed_;
};

}  // namespace p2pdvm::link

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/link/impl/datagram.ipp>
#endif
