/// A user's own message, encoded, hashed and decoded again.
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <cstdio>
#include <string>
#include <vector>

struct greeting {
  std::string to;
  std::vector<int> numbers;
  template <class F>
  void fields(F&& f) {
    f(to);
    f(numbers);
  }
};

int main() {
  greeting sent;
  sent.to = "anyone";
  sent.numbers = {1, 2, 3};
  const auto bytes = p2pdvm::wire::encode(sent);
  const auto received = p2pdvm::wire::decode<greeting>(bytes);
  if (!received || received->to != sent.to || received->numbers != sent.numbers) {
    std::puts("the message did not survive");
    return 1;
  }
  // By another implementation of BLAKE2b-256, from 06 "anyone" 03 01000000 02000000 03000000.
  const char* expected = "35fb8a5a0f0470e173b58d34e3561432aa5b6e91dc0712474126cf1e2d1f45af";
  const auto digest = p2pdvm::crypto::hash(bytes);
  std::printf("digest: %s\n", digest.hex().c_str());
  return digest.hex() == expected ? 0 : 1;
}
