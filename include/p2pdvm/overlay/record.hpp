/// Signed, sequenced, expiring records, and the bounded store of those kept for others.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/contact.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace p2pdvm::overlay {

/// Bytes of a value: what fits into one datagram beside the record's other fields and the
/// envelope (`message` in rpc.hpp), and never over `limits::record_value_bytes_max`.
inline constexpr std::size_t record_value_max =
    std::min<std::size_t>(limits::record_value_bytes_max, datagram_payload_max - 176);
/// Longer lifetimes are refused: a record whose publisher has gone must go too.
inline constexpr std::chrono::seconds record_lifetime_max = std::chrono::hours(48);
/// Records kept for publishers in one public network (`network_of`): keys cost nothing,
/// addresses do.
inline constexpr std::size_t records_per_network_max = 1024;
/// Records kept for one public network that others than their publishers brought from there.
/// They are counted apart, or what strangers make honest holders replicate would take the place
/// of the publishers in those holders' networks.
inline constexpr std::size_t relayed_per_network_max = records_per_network_max / 4;
/// Expired records that one reading skips before it gives up; `expire` removes them soon.
inline constexpr std::size_t record_get_tries_max = 8;

struct record {
  node_id target;  ///< where it is looked for; any 256-bit id
  public_key publisher;
  std::uint64_t sequence = 0;  ///< of two valid records of one publisher the higher one counts
  unix_seconds expiry = 0;
  byte_vector value;
  signature proof;
  friend bool operator==(const record&, const record&) = default;
  template <class F>
  void fields(F&& f) {
    f(target), f(publisher), f(sequence), f(expiry), f(value), f(proof);
  }
};

/// Precondition: `value.size() <= record_value_max`.
[[nodiscard]] record make_record(const crypto::identity& publisher, const node_id& target,
                                 std::uint64_t sequence, unix_seconds expiry, byte_vector value);
/// Size, lifetime and signature. Errors: `too_large`, `expired`, `refused` (lives too long),
/// `authentication`.
[[nodiscard]] result<> validate(const record& r, unix_seconds wall);

/// Where a record is kept: one per target and publisher, so that nobody overwrites another's.
struct record_key {
  node_id target;
  public_key publisher;
  friend auto operator<=>(const record_key&, const record_key&) = default;
};

struct record_store_options {
  std::size_t records_max = limits::records_max;
  std::size_t per_publisher_max = limits::records_per_source_max;
  std::size_t per_network_max = records_per_network_max;
  std::size_t relayed_max = relayed_per_network_max;
};

/// Ordered by distance to its owner: when full, the farthest record gives way to a nearer one.
class record_store {
 public:
  record_store(const node_id& self, const record_store_options& options);

  /// Validates and keeps `r`, which `bringer` brought. An equal record is accepted again.
  /// Errors: those of `validate`, `conflict` (not newer), `no_space` (over a cap). `due` is
  /// when it should be replicated next; a repeated store moves it.
  result<> put(record r, const contact& bringer, unix_seconds wall, time_point due);
  /// One unexpired record for `target`, of `publisher` if given, else of any: the draw makes
  /// sure that no publisher hides the others for good.
  [[nodiscard]] std::optional<record> get(const node_id& target,
                                          const std::optional<public_key>& publisher,
                                          unix_seconds wall, random_generator& random) const;
  /// The record longest due for replication, if any at `now`; it is due again after `interval`.
  std::optional<record> take_due(time_point now, duration interval);
  [[nodiscard]] time_point next_due() const noexcept { return next_due_; }
  void expire(unix_seconds wall);
  [[nodiscard]] std::size_t size() const noexcept { return records_.size(); }

 private:
  /// What a record counts against.
  struct budget {
    network_prefix network;
    bool relayed = false;
    friend auto operator<=>(const budget&, const budget&) = default;
  };
  struct kept {
    record r;
    budget charged;
    time_point due;
  };
  /// Distance to the owner first.
  using place = record_key;

  [[nodiscard]] place place_of(const record& r) const;
  [[nodiscard]] bool used_up(const budget& b) const;
  void erase(std::map<place, kept>::iterator at);
  void note_next_due();

  node_id self_;
  record_store_options options_;
  std::map<place, kept> records_;
  std::set<std::pair<unix_seconds, place>> by_expiry_;
  std::set<std::pair<time_point, place>> by_due_;
  time_point next_due_ = time_point_never;  ///< asked for after every datagram
  std::map<public_key, std::size_t> per_publisher_;
  std::map<budget, std::size_t> per_network_;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/record.ipp>
#endif
