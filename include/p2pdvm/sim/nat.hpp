/// A NAT in the terms of RFC 4787: how it maps, what it filters, when a mapping ends.
#pragma once

#include <p2pdvm/sim/event_heap.hpp>
#include <p2pdvm/sim/options.hpp>

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <vector>

namespace p2pdvm::sim::detail {

/// Ports are given out in turn; when all are in use, the next one is taken from its owner.
class nat_box {
 public:
  nat_box(const nat_options& how, const address& outside) : options_(how), outside_(outside) {}

  /// An endpoint of a machine behind it.
  struct inner {
    std::uint32_t machine;
    std::uint16_t port;
    friend auto operator<=>(const inner&, const inner&) = default;
  };

  [[nodiscard]] const address& outside() const noexcept { return outside_; }
  [[nodiscard]] bool hairpins() const noexcept { return options_.hairpin; }
  /// The private address of a machine that is put behind it.
  address admit(std::uint32_t machine);
  /// The first machine that was put behind it.
  [[nodiscard]] std::optional<std::uint32_t> first_machine() const;
  /// The machine with this private address.
  [[nodiscard]] std::optional<std::uint32_t> inside(const address& to) const;
  /// Lets everybody reach this port of a machine by the same number, for good.
  void forward(const inner& from);

  /// A packet leaves to `to`: where it seems to come from. Opens or refreshes a mapping.
  address outward(traffic kind, const inner& from, const address& to, tick now);
  /// Whose port this is at present.
  [[nodiscard]] std::optional<inner> owner(traffic kind, std::uint16_t port, tick now) const;
  /// A packet arrives from `from`: whom it is handed to, if it may pass.
  [[nodiscard]] std::optional<inner> inward(traffic kind, std::uint16_t port, const address& from,
                                            tick now) const;

 private:
  static constexpr std::uint16_t first_port = 1024;
  static constexpr std::size_t contacts_min = 64;

  /// What a mapping is made for; as much of the remote address as the mapping depends on.
  struct key {
    inner from;
    address remote;
    friend auto operator<=>(const key&, const key&) = default;
  };
  struct mapping {
    key made_for;
    tick expires = 0;
    std::map<address, tick> contacts = {};  ///< whom it lets in until when
    std::size_t prune_at = contacts_min;
  };
  struct table {
    std::map<key, std::uint16_t> by_key;
    std::map<std::uint16_t, mapping> by_port;
    std::uint16_t next_port = first_port;
  };

  [[nodiscard]] static address masked(const address& remote, nat_dependence how);
  [[nodiscard]] tick timeout(traffic kind) const;
  std::uint16_t take_port(table& t);
  static void prune(mapping& m, tick now);

  nat_options options_;
  address outside_;
  std::vector<std::uint32_t> machines_;
  std::array<table, 2> tables_;  ///< by traffic
};

}  // namespace p2pdvm::sim::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/nat.ipp>
#endif
