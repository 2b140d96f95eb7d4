/// What idle cores do for the cipher of a large message: records of one connection, sealed and opened in memory.
#include "messaging.hpp"

#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/link/connection.hpp>
#include <p2pdvm/link/record.hpp>

#include <asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::size_t message_bytes = std::size_t{4} << 20;
/// Sealed before each write and got by each read, as connections of a large message have it.
constexpr std::size_t records_at_once = 4;

class message_in_records {
 public:
  explicit message_in_records(link::noise::cipher kind)
      : sender_(link::record_cipher(kind, key())), receiver_(link::record_cipher(kind, key())) {}

  /// Without a crew: as one core does it.
  [[nodiscard]] double seal(link::record_crew* crew) {
    return time_of([&] {
      std::size_t done = 0;
      for (byte_vector& out : sealed_) {
        sender_.reuse(std::move(out));
        for (std::size_t n = 0; n < records_at_once; ++n, done += piece) {
          sender_.add(bytes_of(std::uint32_t{0}));
          sender_.add_last(message_.slice(done, piece));
          sender_.finish(crew != nullptr);
        }
        out = sender_.take(crew);
      }
    });
  }
  [[nodiscard]] double open(link::record_crew* crew) {
    bool good = true;
    std::size_t records = 0;
    const double seconds = time_of([&] {
      for (const byte_vector& out : sealed_) {
        for (byte_view input = out;;) {
          const auto record = receiver_.next(input, nullptr, crew);
          good = good && record;
          if (!record || !record->has_value()) break;
          ++records;
        }
      }
    });
    if (!good || records != sealed_.size() * records_at_once)
      throw std::runtime_error("records do not open that were just sealed");
    return seconds;
  }

 private:
  static constexpr std::size_t piece = limits::slice_bytes_max / 1024 * 1024;
  [[nodiscard]] static crypto::secret_key key() { return crypto::secret_key(crypto::hash(as_bytes("a key")).bytes()); }

  link::record_sender sender_;
  link::record_receiver receiver_;
  payload message_{byte_vector(message_bytes, std::byte{7})};
  std::vector<byte_vector> sealed_{message_bytes / (piece * records_at_once)};
};

}  // namespace

void measure_ciphers(const settings& how, comparison& out) {
  asio::io_context io;
  native::machine machine(io, {});
  link::record_crew crew{*machine.workers(), {}};
  const link::noise::cipher kind =
      crypto::aes_available() ? link::noise::cipher::aes256_gcm : link::noise::cipher::chacha20_poly1305;
  message_in_records alone(kind), together(kind);
  const auto add = [&](const char* metric, const char* system, double seconds) {
    measurement m;
    m.benchmark = "messaging";
    m.metric = metric;
    m.system = system;
    m.profile = "native";
    m.parameters["path"] = "cipher";
    m.parameters["processes"] = 1;
    m.parameters["bytes"] = message_bytes;
    m.unit = seconds_unit;
    m.value = seconds;
    out.add(m);
  };
  const int samples = how.quick ? 1 : 101;
  for (int i = 0; i < samples; ++i) {
    add("seal_time", "one_core", alone.seal(nullptr));
    add("open_time", "one_core", alone.open(nullptr));
    add("seal_time", "p2pdvm", together.seal(&crew));
    add("open_time", "p2pdvm", together.open(&crew));
  }
}

}  // namespace p2pdvm::bench
