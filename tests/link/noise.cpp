#include "support/test.hpp"

#include <p2pdvm/link/noise.hpp>

#include <string>
#include <string_view>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::link::noise;

namespace {

// Published test vectors: github.com/haskell-cryptography/cacophony, vectors/cacophony.txt
// (commit 8ee9d41e). All vectors there share prologue, keys and payloads.
constexpr std::string_view prologue_hex = "4a6f686e2047616c74";
constexpr std::string_view init_static =
    "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
constexpr std::string_view init_ephemeral =
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
constexpr std::string_view resp_static =
    "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
constexpr std::string_view resp_static_public =
    "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
constexpr std::string_view resp_ephemeral =
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
const std::vector<std::string_view> payloads = {
    "4c756477696720766f6e204d69736573",   "4d757272617920526f746862617264",
    "462e20412e20486179656b",             "4361726c204d656e676572",
    "4a65616e2d426170746973746520536179", "457567656e2042f6686d20766f6e2042617765726b"};

struct vector_case {
  pattern which;
  cipher kind;
  std::string_view hash;
  std::vector<std::string_view> ciphertexts;
};

const std::vector<vector_case> vectors = {
    {pattern::xx, cipher::chacha20_poly1305,
     "8cf47d7b3cb5804c0109d48e8bcdbee2cbb65687d8ea2c92994ca361fb86151ad93627b98936cbb32de5"
         "6e8abb21def3925011ac3e35db9cbeea73ab9a4392c2",
     {
         "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e"
         "204d69736573",
         "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088430505b6745ce64a5f33f0"
         "e8e3b83f11ce8802bca507f4f2d8b564dbe277e1966116e132faa2dfd70b8b077b9f94b913df5056ae13"
         "19469b824a98d54bbaa82c325595587064f978c4b6d104f7596e6f",
         "99579e1c1ee15e422a57ddd6b16d37087b17558e8369c18991b4b2ca3a824abf904cdcf5458b5431a75a"
         "f034ca9e9b982de039eaaf156775e2d580cd4e5ebae89c3f8cb2594b556d8a8169",
         "fc56eea290b3f3a21aac0c70cd5787b5ee99be37d2f4d751329b55",
         "bb31c9da10d5639a4cdb88a12f5c61de41bbc7df09bf75d94f8184fe4157f5c68f",
         "f6199cadb152fb27f82be0a0891ec76a33598ae92a46cab2fb5a8ed5bf48b7f267f8370af7",
     }},
    {pattern::ik, cipher::chacha20_poly1305,
     "1c8fa891cb414fedba6daa7c6f4ae0a6d98e5f9768cc9cecd27e805614943ee9c8a1b27fbfb76dc19725"
         "5c8aa69f6b4285c423840b8bedf45e652ca64f797d81",
     {
         "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944ba83a447b38c83e327ad"
         "936929812f624884847b7831e95e197b2f797088efdd2f88f1db7e1fb0e99c64419097af91cee64e470f"
         "4b6fcd9298ce0b56fe20f86e13bf70439c538e3602a7127af71a29cc",
         "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088439f069b267a06b3de3ecb"
         "1043bcb098e9af91d9c64748d998c7b47890871571",
         "cd54383060e7a28434cca27fb1cc524cfbabeb18181589df219d07",
         "a856d3bf0246bfc476c655009cd1ed677b8dcc5b349ae8ef2a05f2",
         "49063084b2c51f098337cb8a13739ac848f907e67cfb2cc8a8b60586467aa02fc7",
         "8b9709d23b47e4639df7678d7a21741eba4ef1e9c60383001c7435549c20f9d56f30e935d3",
     }},
    {pattern::xx, cipher::aes256_gcm,
     "93bc73059d78d6409b76bc43e76ec5b3a6a3612d5a94c1c8f81308d06a8a049511f717a87d4d8b4abe0f"
         "12ac73d7a9047d0d4fcac80456fbff1349655c454046",
     {
         "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e"
         "204d69736573",
         "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cf031a86733a890297fd"
         "a30d4b471d0ceeff97124c67a7b656356862398ad52e08b423271d80894ace0fc531c39492823f2cc8f5"
         "ebe97a7feffaae500aef491ef9815e8e024ac906b3678983549ec8",
         "ee1c5e4fe3060d7014884f9328573c4f2e3c5593c3ef574b418e8bb397792a77db4cc497ce5db0c79d29"
         "afbbb78a3059d289413105384ef2738071c015c39467f6e9b61eb3e2f1db47d5f6",
         "7ab9b6ee246550448f838ec94ab1c3cb93e7d475dc8aa7434e6462",
         "3d741aa91dff33adf4758746ddbf2b6afef8b64768b1d589e6bd999f7e7c7e4287",
         "6645a432705ba19de0dedaf6c9f2c4ecfa2447d48eac868bffd3ae8d899d6656a0a00c5699",
     }},
    {pattern::ik, cipher::aes256_gcm,
     "8ddf8b582c496c745188bfa839b17d70be1682160af9276158d921816b2493504976f76644607e07f2c2"
         "60273c73c4d7e97607e76a838fe1ce3d0f60ee4ada50",
     {
         "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c794410ade309f400533fbc81"
         "fb0e8b55288091ab5fe35d8c3d5033dbec503bcfa06269d8692447295ef3f3f47a1d6e6048bc4889db46"
         "31c5f5d18d37edd34e113a664e2eb59ac55371831af42186f54915eb",
         "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884361923da61bbe936aa0e5"
         "2e679c8a0341ab3e9ebca061b0423d0758f1c92d86",
         "76c378c26ad0616d8b5d12fb30069a3d2006f09c736d133b1b00e2",
         "44256a9fc73f965bb05905cea2c7f42446fdaeaad4005e3bfd5363",
         "a760601455d420b671156c561657a8fdc110686208d9ef8f524ad3841f5718ffa9",
         "a718f0df83c0a5e0715f7212aff997d406a65f06660102a7f522d9d5dd8bbd711789825bd4",
     }},
};

byte_vector from_hex(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  byte_vector bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(digit(text[i]) * 16 + digit(text[i + 1])));
  return bytes;
}

crypto::secret_key key(std::string_view hex) { return crypto::secret_key(from_hex(hex)); }

handshake_state initiator(pattern which, cipher kind) {
  std::optional<crypto::exchange_key> remote;
  if (which == pattern::ik) remote = crypto::exchange_key(from_hex(resp_static_public));
  return handshake_state(which, role::initiator, kind, from_hex(prologue_hex), key(init_static),
                         key(init_ephemeral), remote);
}

handshake_state responder(pattern which, cipher kind) {
  return handshake_state(which, role::responder, kind, from_hex(prologue_hex), key(resp_static),
                         key(resp_ephemeral));
}

void check_transport(const vector_case& v, const handshake_state& a, const handshake_state& b) {
  auto [a_out, a_in] = a.split();
  auto [b_in, b_out] = b.split();
  for (std::size_t i = v.which == pattern::xx ? 3 : 2; i < payloads.size(); ++i) {
    cipher_state& sender = i % 2 == 0 ? a_out : b_out;
    cipher_state& receiver = i % 2 == 0 ? b_in : a_in;
    const byte_vector plain = from_hex(payloads[i]);
    byte_vector sealed(plain.size() + sender.overhead());
    sender.encrypt({}, plain, sealed);
    CHECK(to_hex(sealed) == v.ciphertexts[i]);
    byte_vector opened(plain.size());
    REQUIRE(receiver.decrypt({}, sealed, opened));
    CHECK(opened == plain);
  }
}

}  // namespace

TEST_CASE("handshakes and transport messages equal the published Noise test vectors") {
  for (const vector_case& v : vectors) {
    if (v.kind == cipher::aes256_gcm && !crypto::aes_available()) continue;
    INFO(protocol_name(v.which, v.kind));
    handshake_state a = initiator(v.which, v.kind);
    handshake_state b = responder(v.which, v.kind);
    for (std::size_t i = 0; !a.finished(); ++i) {
      handshake_state& from = i % 2 == 0 ? a : b;
      handshake_state& to = i % 2 == 0 ? b : a;
      REQUIRE(from.my_turn());
      auto message = from.write_message(from_hex(payloads[i]));
      REQUIRE(message.ok());
      CHECK(to_hex(*message) == v.ciphertexts[i]);
      auto payload = to.read_message(*message);
      REQUIRE(payload.ok());
      CHECK(*payload == from_hex(payloads[i]));
    }
    REQUIRE(b.finished());
    CHECK(to_hex(a.hash()) == v.hash);
    CHECK(to_hex(b.hash()) == v.hash);
    CHECK(to_hex(a.remote_static()->bytes()) == resp_static_public);
    check_transport(v, a, b);
  }
}

TEST_CASE("a rekeyed cipher agrees with its counterpart and no longer with the old key") {
  const crypto::secret_key k = key(init_static);
  cipher_state a(cipher::chacha20_poly1305, k);
  cipher_state b(cipher::chacha20_poly1305, k);
  cipher_state old(cipher::chacha20_poly1305, k);
  a.rekey();
  b.rekey();
  const byte_vector plain = to_vector(as_bytes("after the change of keys"));
  byte_vector sealed(plain.size() + a.overhead());
  a.encrypt({}, plain, sealed);
  byte_vector opened(plain.size());
  CHECK_FALSE(old.decrypt({}, sealed, opened));
  REQUIRE(b.decrypt({}, sealed, opened));
  CHECK(opened == plain);
}

TEST_CASE("a low-order ephemeral key is refused and ends the handshake") {
  handshake_state b = responder(pattern::ik, cipher::chacha20_poly1305);
  const byte_vector message(200);  // starts with the all-zero point
  auto got = b.read_message(message);
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code() == errc::authentication);
  CHECK_FALSE(b.my_turn());
  CHECK_FALSE(b.read_message(message).ok());
}
