#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/messaging/session.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::messaging;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t no_limit = ~std::size_t{0};

/// A program's memory, where messages may land.
struct ground final : landing_places {
  landing land(std::uint8_t, byte_view begin, std::size_t total) override {
    ++asked;
    if (!open || guest == nullptr || site.guest != nullptr || begin.size() < front) return {};
    memory.assign(total - front, std::byte{0xee});
    return landing(site, *guest, memory);
  }
  bool open = false;
  std::size_t front = 0;  ///< bytes of a message that belong elsewhere
  landing_guest* guest = nullptr;
  landing_site site;
  byte_vector memory;
  int asked = 0;
};

/// One peer's end: its session, its end of the current connection, and what it has heard.
struct end final : link::record_places, landing_guest {
  explicit end(std::uint64_t number) : s(std::make_unique<session>(number)) {}

  byte_span place(std::size_t bytes) override {
    const byte_span there = s->place(bytes, lands.get());
    if (!there.empty()) ++placed;
    return there;
  }
  void move_out() override {
    in->displace();
    s->move_out();
  }
  /// What lands from now on may be taken away again.
  void let_land(std::size_t front) {
    lands->open = true;
    lands->guest = this;
    lands->front = front;
  }
  void connect() {
    const crypto::secret_key key;
    s->attach();
    out = std::make_unique<link::record_sender>(link::record_cipher(cipher, key));
    in = std::make_unique<link::record_receiver>(link::record_cipher(cipher, key));
    wire.clear();
  }
  /// Moves everything that the session has to say onto the wire.
  bool write(time_point now) {
    bool any = false;
    while (wire.size() < wire_max && s->fill(now, *out)) {
      out->finish();
      append(wire, out->take());
      any = true;
    }
    return any;
  }
  void read(time_point now, byte_view bytes) {
    for (;;) {
      auto record = in->next(bytes, this);
      REQUIRE(record.ok());
      if (!record->has_value()) return;
      byte_view frames = **record;
      while (!frames.empty()) {
        if (whole_message m; quick && s->receive_whole(now, frames, m)) {
          heard(m.priority, m.channel, m.view);
          continue;
        }
        auto event = s->receive(now, frames, lands.get());
        REQUIRE(event.ok());
        if (event->has_value()) heard(**event);
      }
    }
  }
  void heard(priority p, std::uint8_t channel, byte_view view) {
    arrivals.push_back(p);
    messages[p].push_back(view);
    last_channel = channel;
  }
  void heard(const session_event& event) {
    switch (event.what) {
      case session_event::kind::up: ++ups; break;
      case session_event::kind::resumed: ++resumes; break;
      case session_event::kind::reset: ++resets; break;
      case session_event::kind::message:
        if (event.landed.empty()) return heard(event.priority, event.channel, event.view);
        ++landed;
        CHECK(event.landed.data() == lands->memory.data());
        CHECK(lands->site.guest == nullptr);
        byte_vector whole = to_vector(event.view);
        append(whole, event.landed);
        heard(event.priority, event.channel, whole);
    }
  }

  link::noise::cipher cipher = link::noise::cipher::chacha20_poly1305;
  bool quick = true;  ///< whole messages are taken by `receive_whole`
  std::size_t placed = 0;  ///< records that were opened where a slice was expected
  std::size_t landed = 0;  ///< messages that came into `lands`
  std::unique_ptr<ground> lands = std::make_unique<ground>();
  struct inbox : std::vector<std::string> {
    using std::vector<std::string>::vector;
    void push_back(byte_view bytes) { emplace_back(as_text(bytes)); }
  };
  std::unique_ptr<session> s;
  std::unique_ptr<link::record_sender> out;
  std::unique_ptr<link::record_receiver> in;
  byte_vector wire;
  std::size_t wire_max = no_limit;  ///< where the writer stops until the reader has read
  std::map<priority, inbox> messages;
  std::vector<priority> arrivals;
  std::uint8_t last_channel = 0;
  int ups = 0;
  int resumes = 0;
  int resets = 0;
};

/// Two ends and the wire between them.
struct pair_of_peers {
  end a{1001};
  end b{2002};
  time_point now{1s};

  void connect() {
    a.connect();
    b.connect();
  }
  void deliver(end& from, end& to, std::size_t count) {
    byte_vector bytes(from.wire.begin(), from.wire.begin() + static_cast<std::ptrdiff_t>(count));
    from.wire.erase(from.wire.begin(), from.wire.begin() + static_cast<std::ptrdiff_t>(count));
    to.read(now, bytes);
  }
  /// Carries at most `budget` bytes, `piece` at a time from either side; gives those carried.
  std::size_t run(std::size_t budget, std::size_t piece) {
    std::size_t carried = 0;
    for (bool busy = true; busy && carried < budget;) {
      busy = a.write(now);
      busy = b.write(now) || busy;
      for (const bool forth : {true, false}) {
        end& from = forth ? a : b;
        const std::size_t count = std::min({piece, from.wire.size(), budget - carried});
        deliver(from, forth ? b : a, count);
        carried += count;
        busy = busy || count > 0;
      }
      if (!busy && std::min(a.s->deadline(), b.s->deadline()) != time_point_never) {
        now = std::min(a.s->deadline(), b.s->deadline());
        busy = true;
      }
    }
    return carried;
  }
};

std::string text_of(char who, int i, std::size_t size) {
  std::string text = std::string(1, who) + std::to_string(i) + ".";
  while (text.size() < size) text += static_cast<char>('a' + text.size() * 7 % 26);
  return text;
}

void send(end& from, priority p, const std::string& text) {
  const std::size_t split = text.size() / 3;
  from.s->send(p, 9, to_vector(as_bytes(text).first(split)),
               payload::copy_of(as_bytes(text).subspan(split)));
}

/// Sends the same mixture of messages from both ends; what each end must then hear.
std::map<priority, end::inbox> load(pair_of_peers& peers, int count, std::size_t size) {
  std::map<priority, end::inbox> expected;
  for (int i = 0; i < count; ++i) {
    const auto p = static_cast<priority>(i % 3);
    const std::string text = text_of('m', i, size * static_cast<std::size_t>(i % 4));
    send(peers.a, p, text);
    send(peers.b, p, text);
    expected[p].push_back(as_bytes(text));
  }
  return expected;
}

void check_complete(pair_of_peers& peers, const std::map<priority, end::inbox>& expected) {
  CHECK(peers.a.messages == expected);
  CHECK(peers.b.messages == expected);
  CHECK(peers.a.s->unacknowledged() == 0);
  CHECK(peers.b.s->unacknowledged() == 0);
  CHECK(peers.a.resets + peers.b.resets == 0);
}

errc refusal(session& s, const std::vector<byte_vector>& frames) {
  for (const auto& bytes : frames) {
    byte_view record = bytes;
    while (!record.empty()) {
      auto event = s.receive(time_point(), record);
      if (!event) return event.error().code();
    }
  }
  return errc::ok;
}

byte_vector frame_of(std::initializer_list<int> head, std::initializer_list<std::uint64_t> words) {
  byte_vector bytes;
  for (const int b : head) bytes.push_back(static_cast<std::byte>(b));
  for (const std::uint64_t word : words) append(bytes, bytes_of(word));
  return bytes;
}
const byte_vector good_hello = frame_of({0}, {77, 0, 0});

}  // namespace

TEST_CASE("messages of all priorities arrive whole and in order in both directions") {
  pair_of_peers peers;
  const auto expected = load(peers, 40, 3000);
  peers.connect();
  peers.run(no_limit, 1000);
  check_complete(peers, expected);
  CHECK(peers.a.ups == 1);
  CHECK(peers.b.ups == 1);
  CHECK(peers.b.last_channel == 9);
}

TEST_CASE("a connection cut at every byte loses nothing, repeats nothing and keeps the order") {
  std::size_t whole = no_limit;
  for (std::size_t cut = 0; cut < whole; ++cut) {
    pair_of_peers peers;
    const auto expected = load(peers, 6, 30);
    peers.connect();
    const std::size_t carried = peers.run(cut, 13);
    if (carried < cut) whole = carried;
    peers.connect();
    peers.run(no_limit, 101);
    check_complete(peers, expected);
  }
  CHECK(whole > 500);
}

TEST_CASE("whole messages are the same whether they are taken one by one or as events") {
  for (const bool quick : {true, false}) {
    pair_of_peers peers;
    peers.a.quick = peers.b.quick = quick;
    const auto expected = load(peers, 200, 90);
    const auto long_ones = std::string(bundled_message_bytes_max - 5, 'l');
    send(peers.a, priority::control, long_ones);
    peers.connect();
    peers.run(no_limit, 1000);
    CHECK(peers.b.messages[priority::control].back() == long_ones);
    peers.b.messages[priority::control].pop_back();
    check_complete(peers, expected);
  }
}

TEST_CASE("slices are opened where they belong, also when something else comes instead") {
  for (const auto cipher : {link::noise::cipher::chacha20_poly1305, link::noise::cipher::aes256_gcm}) {
    if (cipher == link::noise::cipher::aes256_gcm && !crypto::aes_available()) continue;
    for (std::size_t cut = 100; cut < 900000; cut += 150001) {
      pair_of_peers peers;
      peers.a.cipher = peers.b.cipher = cipher;
      std::map<priority, end::inbox> expected;
      for (int i = 0; i < 3; ++i) {
        // Acknowledgements and urgent messages come before slices in their records.
        for (const auto p : {priority::bulk, priority::normal, priority::control}) {
          const std::string text =
              text_of('p', i, p == priority::control ? 700 : limits::slice_bytes_max * 3 + 77);
          send(peers.a, p, text);
          send(peers.b, p, text);
          expected[p].push_back(as_bytes(text));
        }
      }
      peers.a.wire_max = peers.b.wire_max = 70000;
      peers.connect();
      peers.run(cut, 5000);
      peers.connect();
      peers.run(cut, 70001);
      const std::string urgent = text_of('u', 1, 5000);
      send(peers.a, priority::control, urgent);
      peers.run(no_limit, 50000);
      REQUIRE(peers.b.messages[priority::control].size() == 4);
      CHECK(peers.b.messages[priority::control].back() == urgent);
      peers.b.messages[priority::control].pop_back();
      check_complete(peers, expected);
      CHECK(peers.a.placed > 3);
      CHECK(peers.b.placed > 3);
    }
  }
}

TEST_CASE("a record that is not the expected slice changes nothing of the message before it") {
  session s(5);
  s.attach();
  REQUIRE(refusal(s, {good_hello}) == errc::ok);
  // Channel 3, 6000 bytes in all, of which 1000.
  byte_vector first = frame_of({0x14, 3, 0xf0, 0x2e, 0xe8, 0x07}, {});
  first.resize(first.size() + 1000, std::byte{7});
  REQUIRE(refusal(s, {first}) == errc::ok);
  const auto opened = [&](byte_view record) {
    const byte_span there = s.place(record.size());
    REQUIRE(there.size() == record.size());
    std::copy(record.begin(), record.end(), there.begin());
    return byte_view(there);
  };
  byte_vector whole = frame_of({0x1d, 4, 0xe8, 0x07}, {});  // of the next priority, as long as a slice
  whole.resize(whole.size() + 1000, std::byte{9});
  byte_view record = opened(whole);
  auto event = s.receive(time_point(), record);
  REQUIRE(event.ok());
  REQUIRE(event->has_value());
  CHECK((*event)->channel == 4);
  CHECK((*event)->view.size() == 1000);
  static_cast<void>(opened(whole));  // the connection ends before the record is whole, and another begins
  s.attach();
  REQUIRE(refusal(s, {good_hello}) == errc::ok);
  byte_vector last = frame_of({0x18, 0x88, 0x27}, {});
  last.resize(last.size() + 5000, std::byte{8});
  record = opened(last);
  event = s.receive(time_point(), record);
  REQUIRE(event.ok());
  REQUIRE(event->has_value());
  CHECK(record.empty());
  const byte_view view = (*event)->view;
  REQUIRE(view.size() == 6000);
  CHECK(std::all_of(view.begin(), view.begin() + 1000, [](std::byte b) { return b == std::byte{7}; }));
  CHECK(std::all_of(view.begin() + 1000, view.end(), [](std::byte b) { return b == std::byte{8}; }));
  CHECK(s.place(5003).empty());  // nothing is under way
}

TEST_CASE("a large message lands where it is wanted, from its first slice or a later one") {
  for (const std::size_t front : {0, 1, 40}) {
    for (const std::size_t before : {0, 1, 70000, 150000}) {
      pair_of_peers peers;
      const std::string text = text_of('l', 1, limits::slice_bytes_max * 3 + 77);
      send(peers.a, priority::normal, text);
      peers.connect();
      if (before == 0) peers.b.let_land(front);
      peers.run(before == 0 ? no_limit : 200 + before, 1000);
      peers.b.let_land(front);
      peers.run(no_limit, 1000);
      CHECK(peers.b.landed == 1);
      CHECK(peers.b.messages[priority::normal] == end::inbox{text});
      CHECK(peers.b.lands->asked > 0);
    }
  }
}

TEST_CASE("a message whose landing is taken away, at any byte of it, comes whole into memory of its own") {
  for (const bool again : {false, true}) {
    for (std::size_t cut = 300; cut < 120000; cut += 6007) {  // not in the last slice
      pair_of_peers peers;
      const std::string text = text_of('l', 1, limits::slice_bytes_max * 3 + 77);
      send(peers.a, priority::normal, text);
      peers.connect();
      peers.b.let_land(20);
      peers.run(cut, 997);
      peers.b.lands->open = again;
      peers.b.lands->site.clear();
      CHECK(peers.b.lands->site.guest == nullptr);
      const byte_vector taken = std::exchange(peers.b.lands->memory, byte_vector(1));
      peers.run(no_limit, 997);
      CHECK(peers.b.messages[priority::normal] == end::inbox{text});
      CHECK(peers.b.landed == (again ? 1 : 0));
    }
  }
}

TEST_CASE("a message lands across connections, and a session that ends leaves") {
  for (std::size_t cut = 1000; cut < 200000; cut += 16007) {
    pair_of_peers peers;
    const std::string text = text_of('l', 1, limits::slice_bytes_max * 3 + 77);
    send(peers.a, priority::normal, text);
    peers.connect();
    peers.b.let_land(20);
    peers.run(cut, 997);
    peers.connect();
    peers.run(cut / 2, 997);
    peers.connect();
    peers.run(no_limit, 997);
    CHECK(peers.b.messages[priority::normal] == end::inbox{text});
    CHECK(peers.b.landed == 1);

    send(peers.a, priority::normal, text);
    peers.run(150000, 997);
    CHECK(peers.b.lands->site.guest != nullptr);
    peers.b.s = std::make_unique<session>(4004);
    CHECK(peers.b.lands->site.guest == nullptr);
  }
}

TEST_CASE("what was lent is copied when it is taken back, whatever was sent of it") {
  for (std::size_t cut = 0; cut < 220000; cut += 6007) {
    pair_of_peers peers;
    const std::string text = text_of('l', 1, limits::slice_bytes_max * 3 + 77);
    std::string mine = text;
    const byte_view bytes = as_bytes(mine);
    peers.a.s->lend(priority::normal, 1, bytes.first(30), bytes.subspan(30), 5);
    peers.a.s->lend(priority::normal, 1, bytes.first(30), bytes.subspan(30), 6);
    peers.connect();
    peers.run(cut, 5000);
    peers.a.s->take_back(6);
    peers.a.s->take_back(5);
    std::fill(mine.begin(), mine.end(), '-');
    if (cut % 2 == 0) peers.connect();
    peers.run(no_limit, 5000);
    CHECK(peers.b.messages[priority::normal] == end::inbox{text, text});
  }
}

TEST_CASE("a sliced message survives cuts around every frame") {
  for (std::size_t cut = 0; cut < 420000; cut += 6007) {
    pair_of_peers peers;
    std::map<priority, end::inbox> expected;
    for (const auto p : {priority::bulk, priority::normal}) {
      const std::string text = text_of('s', 1, limits::slice_bytes_max * 2 + 77);
      send(peers.a, p, text);
      expected[p].push_back(as_bytes(text));
    }
    peers.connect();
    peers.run(cut, 5000);
    peers.connect();
    peers.run(no_limit, 50000);
    CHECK(peers.b.messages == expected);
    CHECK(peers.a.s->unacknowledged() == 0);
  }
}

TEST_CASE("random cuts, one-sided starts of connections and new messages never break the promise") {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    random_generator random(seed);
    pair_of_peers peers;
    auto expected = load(peers, 10, 40);
    int more = 1000;
    for (int round = 0; round < 12; ++round) {
      peers.connect();
      if (random.chance(0.3)) {  // bytes of only one direction pass before the next cut
        const bool forth = random.chance(0.5);
        end& from = forth ? peers.a : peers.b;
        from.write(peers.now);
        peers.deliver(from, forth ? peers.b : peers.a, random.below(from.wire.size() + 1));
      } else {
        peers.run(random.below(900), 1 + random.below(60));
      }
      const std::string text = text_of('n', ++more, random.below(200));
      send(peers.a, priority::normal, text);
      send(peers.b, priority::normal, text);
      expected[priority::normal].push_back(as_bytes(text));
    }
    peers.connect();
    peers.run(no_limit, 64);
    check_complete(peers, expected);
  }
}

TEST_CASE("a restart of one side is told to the other, and later messages arrive") {
  for (std::size_t cut = 0; cut < 900; cut += 7) {
    pair_of_peers peers;
    load(peers, 8, 30);
    peers.connect();
    peers.run(cut, 17);
    const bool had_met = peers.a.ups == 1;
    peers.b = end(3003);
    peers.a.messages.clear();
    peers.connect();
    peers.run(150, 10);  // far enough for both hellos
    if (had_met) CHECK(peers.a.s->unacknowledged() == 0);
    send(peers.a, priority::normal, "after");
    send(peers.b, priority::normal, "new");
    peers.run(no_limit, 100);
    CHECK(peers.a.resets == (had_met ? 1 : 0));
    CHECK(peers.b.ups == 1);
    CHECK(peers.b.resets == 0);
    CHECK(peers.b.messages[priority::normal].back() == "after");
    if (had_met) CHECK(peers.b.arrivals.size() == 1);
    CHECK(peers.a.messages[priority::normal].back() == "new");
    CHECK(peers.a.s->unacknowledged() == 0);
  }
}

TEST_CASE("urgent messages pass a large one that is under way") {
  pair_of_peers peers;
  peers.a.wire_max = 100000;
  send(peers.a, priority::bulk, text_of('b', 0, 1 << 20));
  peers.connect();
  peers.run(300000, 10000);
  send(peers.a, priority::normal, "normal");
  send(peers.a, priority::control, "control");
  peers.run(no_limit, 10000);
  CHECK(peers.b.arrivals ==
        std::vector<priority>{priority::control, priority::normal, priority::bulk});
}

TEST_CASE("unacknowledged bytes stay within the window, which has room for urgent messages") {
  pair_of_peers peers;
  peers.connect();
  peers.run(no_limit, 1000);
  CHECK_FALSE(peers.a.s->congested());
  send(peers.a, priority::bulk, std::string(2 * limits::session_window_bytes_max, 'x'));
  CHECK(peers.a.s->congested());
  peers.a.write(peers.now);
  const std::size_t bulk_sent = peers.a.wire.size();
  CHECK(bulk_sent <= limits::session_window_bytes_max);
  CHECK(bulk_sent > limits::session_window_bytes_max / 2);
  send(peers.a, priority::control, "urgent");
  CHECK(peers.a.write(peers.now));
  CHECK(peers.a.wire.size() > bulk_sent);
  peers.run(no_limit, 100000);
  CHECK_FALSE(peers.a.s->congested());
  CHECK(peers.b.messages[priority::bulk].front().size() == 2 * limits::session_window_bytes_max);
}

TEST_CASE("bulk is late, but goes on while others always have more than the window takes") {
  pair_of_peers peers;
  peers.connect();
  peers.run(no_limit, 1000);
  send(peers.a, priority::bulk, std::string(1 << 20, 'b'));
  for (int i = 0; i < 400; ++i) send(peers.a, priority::normal, std::string(100'000, 'n'));
  peers.run(no_limit, 1'000'000);
  REQUIRE(peers.b.arrivals.size() == 401);
  const auto bulk = std::find(peers.b.arrivals.begin(), peers.b.arrivals.end(), priority::bulk) - peers.b.arrivals.begin();
  CHECK(bulk > 20);
  CHECK(bulk < 300);
}

TEST_CASE("acknowledgements ride along, come alone after a delay or after many frames") {
  pair_of_peers peers;
  peers.connect();
  peers.run(no_limit, 1000);
  CHECK(peers.b.s->deadline() == time_point_never);
  send(peers.a, priority::normal, "one");
  peers.a.write(peers.now);
  CHECK(peers.a.s->waiting_since() == peers.now);
  peers.deliver(peers.a, peers.b, peers.a.wire.size());
  CHECK_FALSE(peers.b.write(peers.now));
  CHECK(peers.b.s->deadline() == peers.now + acknowledgement_delay);
  send(peers.b, priority::normal, "answer");
  peers.b.write(peers.now);
  CHECK(peers.b.s->deadline() == time_point_never);
  peers.deliver(peers.b, peers.a, peers.b.wire.size());
  CHECK(peers.a.s->unacknowledged() == 0);
  CHECK(peers.a.s->waiting_since() == time_point_never);

  for (std::uint64_t i = 0; i < acknowledgement_frames; ++i) send(peers.a, priority::normal, "x");
  peers.a.write(peers.now);
  peers.deliver(peers.a, peers.b, peers.a.wire.size());
  CHECK(peers.b.write(peers.now));

  peers.run(no_limit, 1000);
  peers.a.s->ping();
  CHECK(peers.a.write(peers.now));
  peers.deliver(peers.a, peers.b, peers.a.wire.size());
  CHECK(peers.b.write(peers.now));
}

TEST_CASE("empty messages and messages that are all header or all body pass") {
  pair_of_peers peers;
  const byte_vector large(limits::slice_bytes_max + 5, std::byte{'h'});
  peers.a.s->send(priority::normal, 0, {});
  peers.a.s->send(priority::normal, 255, large);
  peers.a.s->send(priority::normal, 255, large, payload::copy_of(as_bytes("tail")));
  peers.a.s->send(priority::normal, 1, {}, payload(large));
  byte_vector full(limits::slice_bytes_max, std::byte{'f'});
  peers.a.s->send(priority::normal, 1, full, payload::copy_of(as_bytes("tail")));
  peers.connect();
  peers.run(no_limit, 100000);
  const std::string h(large.size(), 'h');
  const std::string f(full.size(), 'f');
  CHECK(peers.b.messages[priority::normal] == end::inbox{"", h, h + "tail", h, f + "tail"});
}

TEST_CASE("on its very first connection a session does not wait for the other's hello") {
  pair_of_peers peers;
  const auto a_speaks = [&] {
    peers.a.write(peers.now);
    peers.deliver(peers.a, peers.b, peers.a.wire.size());
  };
  send(peers.a, priority::normal, "first");
  peers.connect();
  a_speaks();
  CHECK(peers.b.messages[priority::normal] == end::inbox{"first"});
  CHECK_FALSE(peers.a.s->established());
  // The answer is lost with the connection: now only the other side knows what has arrived.
  send(peers.a, priority::normal, "second");
  peers.connect();
  a_speaks();
  CHECK(peers.b.messages[priority::normal] == end::inbox{"first"});
  peers.run(no_limit, 1000);
  CHECK(peers.b.messages[priority::normal] == end::inbox{"first", "second"});
  CHECK(peers.a.s->unacknowledged() == 0);
}

TEST_CASE("a first connection that a later one has overtaken brings nothing twice") {
  pair_of_peers peers;
  end& a = peers.a;
  send(a, priority::normal, "first");
  send(a, priority::bulk, std::string(100'000, 'x'));
  a.connect();
  a.write(peers.now);
  const byte_vector late = a.wire;
  peers.connect();
  peers.run(no_limit, 1000);
  REQUIRE(peers.b.arrivals.size() == 2);
  peers.b.connect();  // the older one is accepted at last
  peers.b.read(peers.now, late);
  CHECK(peers.b.arrivals.size() == 2);
  peers.connect();
  send(a, priority::normal, "second");
  peers.run(no_limit, 1000);
  CHECK(peers.b.messages[priority::normal] == end::inbox{"first", "second"});
  CHECK(peers.b.resets == 0);
}

TEST_CASE("an overtaken hello, which knows of less than was acknowledged since, breaks nothing") {
  pair_of_peers peers;
  end& a = peers.a;
  end& b = peers.b;
  send(a, priority::normal, "first");
  peers.connect();
  peers.run(no_limit, 1000);
  REQUIRE(a.s->unacknowledged() == 0);
  b.connect();  // of what it has up to here this connection tells, which is slow
  b.write(peers.now);
  const byte_vector late = b.wire;
  send(a, priority::normal, "second");
  peers.connect();
  peers.run(no_limit, 1000);
  REQUIRE(a.s->unacknowledged() == 0);
  a.connect();
  a.read(peers.now, late);
  send(a, priority::normal, "third");
  peers.connect();
  peers.run(no_limit, 1000);
  CHECK(b.messages[priority::normal] == end::inbox{"first", "second", "third"});
  CHECK(a.resets + b.resets == 0);
}

TEST_CASE("a hello comes in a record of its own, which does not wait for large messages to arrive") {
  pair_of_peers peers;
  send(peers.a, priority::normal, std::string(100'000, 'x'));
  peers.connect();
  REQUIRE(peers.a.s->fill(peers.now, *peers.a.out));
  peers.a.out->finish();
  append(peers.a.wire, peers.a.out->take());
  CHECK(peers.a.wire.size() < 100);
  peers.deliver(peers.a, peers.b, peers.a.wire.size());
  CHECK(peers.b.s->established());
}

TEST_CASE("a message over the limit is refused at its first slice, smaller ones pass") {
  pair_of_peers peers;
  peers.b.s->limit_messages(1000);
  send(peers.a, priority::normal, std::string(1000, 'x'));
  peers.connect();
  peers.run(no_limit, 1000);
  CHECK(peers.b.arrivals.size() == 1);
  session s(5);
  s.limit_messages(1000);
  s.attach();
  byte_vector big = frame_of({0x14, 3, 0xe9, 0x07, 1, 0}, {});
  CHECK(refusal(s, {good_hello, big}) == errc::too_large);
}

TEST_CASE("frames that break the protocol are refused") {
  const byte_vector empty_message = frame_of({0x1c, 0, 0}, {});
  const byte_vector begun = frame_of({0x14, 0, 3, 1, 7}, {});
  const std::vector<std::vector<byte_vector>> broken = {
      {empty_message},                                  // before the hello
      {frame_of({1}, {0})},                             // likewise
      {frame_of({0}, {0, 0, 0})},                       // no session number
      {frame_of({0}, {77, 5, 1})},                      // has more than was sent
      {frame_of({0}, {77, 0})},                         // cut short
      {good_hello, good_hello},
      {good_hello, frame_of({1}, {1})},                 // acknowledges what was not sent
      {good_hello, frame_of({1, 0, 0}, {})},
      {good_hello, frame_of({3}, {})},
      {good_hello, frame_of({0xff}, {})},
      {good_hello, frame_of({0x1f, 0, 0}, {})},         // no such priority
      {good_hello, frame_of({0x18, 1, 7}, {})},         // an end without a beginning
      {good_hello, begun, begun},                       // a beginning inside a message
      {good_hello, begun, empty_message},               // likewise
      {good_hello, begun, frame_of({0x10, 2, 7, 7}, {})},        // complete, but not the last
      {good_hello, begun, frame_of({0x18, 1, 7}, {})},           // the last, but not complete
      {good_hello, begun, frame_of({0x18, 3, 7, 7, 7}, {})},     // too much
      {good_hello, begun, frame_of({0x10, 0}, {})},              // nothing
      {good_hello, frame_of({0x1c, 0, 5, 7}, {})},               // cut short
      {good_hello, frame_of({0x14, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}, {})}};
  for (const auto& frames : broken) {
    session s(5);
    s.attach();
    CHECK(refusal(s, frames) == errc::malformed);
  }
}

TEST_CASE("random frames never crash a session") {
  random_generator random(3);
  int taken = 0;
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    session s(5);
    s.attach();
    byte_vector bytes = good_hello;
    for (std::uint64_t n = random.below(40); n > 0; --n) {
      const bool likely = random.chance(0.4);
      bytes.push_back(static_cast<std::byte>(likely ? 0x10 + random.below(16) : random.below(8)));
    }
    const errc outcome = refusal(s, {bytes});
    ++(outcome == errc::ok ? taken : refused);
    // Taking whole messages the quick way changes nothing of it.
    session quick(5);
    quick.attach();
    byte_view record = bytes;
    errc same = errc::ok;
    for (whole_message m; same == errc::ok && !record.empty();) {
      if (quick.receive_whole(time_point(), record, m)) continue;
      if (auto event = quick.receive(time_point(), record); !event) same = event.error().code();
    }
    CHECK(same == outcome);
  }
  CHECK(taken > 100);  // both ways were tried
  CHECK(refused > 100);
}
