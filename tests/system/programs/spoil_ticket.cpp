/// spoil_ticket: prints a ticket that must be refused, made from a good one.
///
///     spoil_ticket altered TICKET        one field changed, the signature as it was
///     spoil_ticket expired TICKET        out of date, rightly signed by somebody
///     spoil_ticket forged TICKET         for the same job, signed by somebody else
///     spoil_ticket stranger TICKET       names somebody else at the peers' addresses
///     spoil_ticket at ADDR:PORT TICKET   names another address, signed by somebody else

#include <p2pdvm/runtime/ticket.hpp>

#include <fmt/core.h>

#include <string_view>

using namespace p2pdvm;

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string_view how = argv[1];
  runtime::ticket t = runtime::ticket::parse(argv[argc - 1]).value();
  crypto::secret_key seed;
  for (std::byte& b : seed.mutable_bytes()) b = std::byte{7};
  const crypto::identity somebody(seed);
  if (how == "altered") {
    t.expiry += 1000;
  } else {
    if (how == "expired") t.expiry = 1'000'000'000;
    if (how == "stranger") {
      for (auto& c : t.contacts) c.key = somebody.key();
    }
    if (how == "at") {
      for (auto& c : t.contacts) c.addresses = {address::parse(argv[2]).value()};
    }
    t.sign(somebody);
  }
  fmt::print("{}\n", t.text());
}
