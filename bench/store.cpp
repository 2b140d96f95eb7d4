/// store: names of chunks against raw BLAKE2b, chunks to disk against plain writes, and back to a peer that takes over a rank against
/// what ciphers and hash alone take.
#include "loopback.hpp"
#include "lost_rank.hpp"
#include "parts.hpp"
#include "runs.hpp"
#include "store_far.hpp"
#include "suites.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::size_t chunk_bytes = 64 << 10;
constexpr std::size_t batch_chunks = 64;  ///< made durable together, as a drain does

measurement made(const char* metric, const char* system, std::size_t bytes, std::string_view unit,
                 double value) {
  measurement m;
  m.benchmark = "store";
  m.system = system;
  m.profile = "native";
  m.parameters["bytes"] = bytes;
  m.parameters["chunk_bytes"] = chunk_bytes;
  m.parameters["processes"] = 1;
  m.metric = metric;
  m.unit = unit;
  m.value = value;
  return m;
}

std::vector<byte_vector> random_chunks(std::size_t count) {
  random_generator random(1);
  std::vector<byte_vector> chunks(count, byte_vector(chunk_bytes));
  for (byte_vector& c : chunks) {
    for (std::byte& b : c) b = static_cast<std::byte>(random());
  }
  return chunks;
}

/// Calls `sync` of a log or a file and waits until it is durable.
template <class Syncs>
void make_durable(Syncs& what, asio::io_context& io) {
  std::optional<result<>> outcome;
  what.sync([&outcome](result<> r) { outcome = std::move(r); });
  while (!outcome) {
    io.restart();
    const auto work = asio::make_work_guard(io);
    io.run_one();
  }
  if (!outcome->ok()) throw std::runtime_error(outcome->error().message());
}

void check(const result<>& r) {
  if (!r.ok()) throw std::runtime_error(r.error().message());
}

double ingest_seconds(const std::vector<std::pair<chunk_id, payload>>& sealed) {
  const temporary_folder folder;
  asio::io_context io;
  native::machine machine(io, {folder.path()});
  auto opened = store::segment_log::open(machine.disk(), "chunks", {});
  if (!opened.ok()) throw std::runtime_error(opened.error().message());
  store::segment_log& log = **opened;
  const store::pin pin{job_id(), incarnation_number(1), epoch_number(1)};
  return time_of([&] {
    std::vector<chunk_id> batch;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
      check(log.put_shared(sealed[i].first, sealed[i].second));
      batch.push_back(sealed[i].first);
      if (batch.size() < batch_chunks && i + 1 < sealed.size()) continue;
      check(log.add_pin(pin, batch));
      batch.clear();
      make_durable(log, io);
    }
  });
}

/// The same bytes through the same seam into one file.
double raw_seconds(const std::vector<std::pair<chunk_id, payload>>& sealed) {
  const temporary_folder folder;
  asio::io_context io;
  native::machine machine(io, {folder.path()});
  auto opened = machine.disk().open("raw", true);
  if (!opened.ok()) throw std::runtime_error(opened.error().message());
  host::file& file = **opened;
  return time_of([&] {
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < sealed.size(); ++i) {
      check(file.write(at, sealed[i].second.view()));
      at += sealed[i].second.size();
      if ((i + 1) % batch_chunks == 0 || i + 1 == sealed.size()) make_durable(file, io);
    }
  });
}

using sealed_chunks = std::vector<std::pair<chunk_id, payload>>;

/// The same number of bytes past the page cache, each batch in one write and then synced; 0 where the file system has no such writes.
double direct_seconds(const sealed_chunks& sealed) {
#if defined(O_DIRECT)
  const temporary_folder folder;
  const std::string path = folder.path() + "/direct";
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_DIRECT, 0600);
  if (file < 0) return 0;
  constexpr std::size_t aligned = 4096;
  void* memory = nullptr;
  const std::size_t batch = (sealed.front().second.size() + aligned - 1) / aligned * aligned * std::min(batch_chunks, sealed.size());
  if (::posix_memalign(&memory, aligned, batch) != 0) throw std::bad_alloc();
  std::size_t at = 0;
  for (std::size_t n = 0; at < batch; at += sealed.front().second.size(), ++n) {
    const byte_view bytes = sealed[n % sealed.size()].second.view();
    std::copy_n(bytes.data(), std::min(bytes.size(), batch - at), static_cast<std::byte*>(memory) + at);
  }
  int failed = 0;
  const double seconds = time_of([&] {
    for (std::size_t done = 0; done < sealed.size() && failed == 0; done += batch_chunks) {
      const ssize_t n = ::pwrite(file, memory, batch, static_cast<off_t>(done / batch_chunks * batch));
      failed = n == static_cast<ssize_t>(batch) && ::fdatasync(file) == 0 ? 0 : errno != 0 ? errno : EIO;
    }
  });
  ::free(memory);
  ::close(file);
  if (failed != 0) throw std::system_error(failed, std::generic_category(), "direct write");
  return seconds;
#else
  (void)sealed;
  return 0;
#endif
}

void measure_ids(const settings& how, report& out) {
  const std::size_t count = how.quick ? 4 : 1024, bytes = count * chunk_bytes;
  const std::vector<byte_vector> chunks = random_chunks(count);
  const store::chunk_codec codec{crypto::secret_key()};
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  asio::io_context io;
  const temporary_folder folder;
  native::machine machine(io, {folder.path()});
  std::vector<double> named, spread, hashed, sealed;
  std::vector<chunk_id> ids(count);
  const auto name_some = [&](std::size_t part, std::size_t parts) {
    for (std::size_t i = count * part / parts; i < count * (part + 1) / parts; ++i) ids[i] = codec.id(chunks[i]);
  };
  for (int r = 0; r < (how.quick ? 2 : 7); ++r) {
    named.push_back(time_of([&] { name_some(0, 1); }));
    const std::size_t parts = std::min<std::size_t>(count, 16 * cores);
    spread.push_back(time_of([&] { machine.workers()->share(parts, [&](std::size_t part) { name_some(part, parts); }); }));
    std::vector<digest256> digests;
    hashed.push_back(time_of([&] {
      for (const byte_vector& c : chunks) digests.push_back(crypto::hash(c));
    }));
    sealed.push_back(time_of([&] {
      for (std::size_t i = 0; i < count; ++i) (void)codec.seal(ids[i], chunks[i]);
    }));
  }
  const auto rate = [bytes](const std::vector<double>& times) { return static_cast<double>(bytes) / median(times); };
  out.add(made("chunk_id_rate", "p2pdvm", bytes, byte_rate_unit, rate(named)));
  out.add(made("chunk_id_rate", "BLAKE2b-256", bytes, byte_rate_unit, rate(hashed)));
  out.add(made("chunk_id_ratio", "p2pdvm", bytes, fraction_unit, rate(named) / rate(hashed)));
  measurement each = made("chunk_id_ratio", "p2pdvm", bytes, fraction_unit, rate(spread) / rate(hashed) / cores);
  each.parameters["cores"] = cores;
  out.add(each);
  out.add(made("seal_rate", "p2pdvm", bytes, byte_rate_unit, rate(sealed)));
}

void measure_ingest(const settings& how, report& out) {
  const std::size_t count = how.quick ? 4 : 1024, bytes = count * chunk_bytes;
  const store::chunk_codec codec{crypto::secret_key()};
  sealed_chunks sealed;
  for (const byte_vector& c : random_chunks(count)) {
    const chunk_id id = codec.id(c);
    sealed.emplace_back(id, codec.seal(id, c));
  }
  std::vector<double> ingested, written, direct;
  for (int r = 0; r < (how.quick ? 2 : 7); ++r) {
    ingested.push_back(ingest_seconds(sealed));
    written.push_back(raw_seconds(sealed));
    direct.push_back(direct_seconds(sealed));
  }
  const auto rate = [bytes](const std::vector<double>& times) { return static_cast<double>(bytes) / median(times); };
  out.add(made("ingest", "p2pdvm", bytes, byte_rate_unit, rate(ingested)));
  out.add(made("ingest", "write, fdatasync", bytes, byte_rate_unit, rate(written)));
  out.add(made("ingest_ratio", "p2pdvm", bytes, fraction_unit, rate(ingested) / rate(written)));
  if (median(direct) == 0) return;
  out.add(made("ingest", "O_DIRECT, fdatasync", bytes, byte_rate_unit, rate(direct)));
  measurement ratio = made("ingest_ratio", "p2pdvm", bytes, fraction_unit, rate(ingested) / rate(direct));
  ratio.parameters["against"] = "O_DIRECT";
  out.add(ratio);
}

/// Seconds that one core needs for each byte that comes to a peer: the link's cipher on both sides, the chunk's cipher and its name.
double seconds_per_restored_byte(std::size_t chunks) {
  const auto plain = random_chunks(1).front();
  const store::chunk_codec codec{crypto::secret_key()};
  const chunk_id id = codec.id(plain);
  const payload sealed = codec.seal(id, plain);
  const bool aes = crypto::aes_available();
  std::optional<crypto::aes_key> link;
  if (aes) link.emplace(crypto::secret_key());
  byte_vector on_link(sealed.size() + crypto::tag_bytes), off_link(sealed.size());
  std::vector<double> times;
  bool good = true;
  for (int r = 0; r < 7; ++r) {
    times.push_back(time_of([&] {
      for (std::size_t n = 0; n < chunks; ++n) {
        if (aes) {
          link->seal({}, {}, sealed.view(), on_link);
          good = good && link->open({}, {}, on_link, off_link);
        } else {
          crypto::seal(crypto::secret_key(), crypto::nonce24{}, {}, sealed.view(), on_link);
          good = good && crypto::open(crypto::secret_key(), crypto::nonce24{}, {}, on_link, off_link);
        }
        good = good && codec.open(id, sealed.view(), plain.size()).ok();
      }
    }));
  }
  if (!good) throw std::runtime_error("what was just sealed does not open");
  return median(times) / static_cast<double>(chunks * chunk_bytes);
}

/// One rank on one of eight peers, two of which have each piece of its state.
void measure_restore(const settings& how, report& out) {
  const std::size_t bytes = how.quick ? 256 << 10 : 64 << 20;
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  constexpr std::size_t holders = 6;  // of the seven peers that are left, one takes the rank
  std::vector<double> rates, bounds, in_clear, bounds_with_tcp;
  for (int r = 0; r < (how.quick ? 1 : 5); ++r) {
    bounds.push_back(std::min(8U, cores) / seconds_per_restored_byte(how.quick ? 4 : 512));
    in_clear.push_back(static_cast<double>(bytes) / seconds_over_loopback(bytes, holders));
    bounds_with_tcp.push_back(1 / (1 / bounds.back() + 1 / in_clear.back()));
    const lost_rank one = lose_a_rank({.ranks = 1, .peers = 8, .replicas = 2, .bytes = bytes});
    rates.push_back(one.fetched / one.fetching);
  }
  const auto add = [&](const char* metric, const char* system, std::string_view unit, double value) {
    measurement m = made(metric, system, bytes, unit, value);
    m.parameters["path"] = "tcp";
    m.parameters["processes"] = 8;
    out.add(m);
  };
  add("restore", "p2pdvm", byte_rate_unit, median(rates));
  add("restore", "ciphers and hash", byte_rate_unit, median(bounds));
  add("restore", "TCP in clear", byte_rate_unit, median(in_clear));
  add("restore_ratio", "p2pdvm", fraction_unit, median(rates) / median(bounds));
  measurement with_tcp = made("restore_ratio", "p2pdvm", bytes, fraction_unit, median(rates) / median(bounds_with_tcp));
  with_tcp.parameters["path"] = "tcp";
  with_tcp.parameters["processes"] = 8;
  with_tcp.parameters["against"] = "ciphers, hash and TCP, one after another";
  out.add(with_tcp);
}

}  // namespace

void run_store(const settings& how, report& out) {
  measure_parts(how, out, {{"ids", measure_ids}, {"ingest", measure_ingest}, {"restore", measure_restore}, {"far", measure_far_store}});
}

}  // namespace p2pdvm::bench
