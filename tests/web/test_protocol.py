"""protocol.js without the page: a client over a WebSocket whose server is written here."""

from typing import Any

import pytest
from selenium.webdriver import Chrome

from tests.system.process import NodeProcess
from tests.web.window import Window

pytestmark = [pytest.mark.browser, pytest.mark.system]

# A server in the page: it keeps a log of one channel, and loses what a test tells it to lose.
FAKE_SERVER = """
const { Client } = await import("/static/protocol.js");
const log = [], said = [], given = [], gaps = [];
let socket = null;
const message = (seq, epoch = "e1") => ({
  type: "message", channel: "room:a", epoch, seq, from: "bob", key: `k${seq}`, at: seq, data: { text: String(seq) } });
const answers = {
  connect: (command) => ({ type: "connected", user: "alice", device: "d", session: "s", time: 0, ping_seconds: 25,
    expires: null, resumed: Object.fromEntries(Object.entries(command.cursors).map(([channel, [, seq]]) =>
      [channel, { epoch: "e1", seq: log.length, recovered: true, messages: log.slice(seq) }])) }),
  subscribe: () => ({
    type: "subscribed", channel: "room:a", epoch: "e1", seq: log.length, recovered: true, messages: [] }),
  history: ({ after }) => ({ type: "history", channel: "room:a", messages: log.slice(after), more: false }),
  send: ({ key, data }) => {
    const known = log.find((one) => one.key === key);
    if (!known) log.push({ ...message(log.length + 1), from: "alice", key, data });
    const { seq, epoch, at } = known ?? log.at(-1);
    return { type: "sent", channel: "room:a", epoch, seq, at, ...(known && { duplicate: true }) };
  },
};
let mute = false;
window.WebSocket = class {
  static OPEN = 1;
  readyState = 1;
  constructor() { socket = this; queueMicrotask(() => this.onopen()); }
  send(text) {
    const command = JSON.parse(text);
    said.push(command);
    const answer = answers[command.type](command);
    if (!mute) queueMicrotask(() => this.hear({ ...answer, id: command.id }));
  }
  hear(event) { this.onmessage({ data: JSON.stringify(event) }); }
  close() {}
  break(code = 1006) { this.onclose({ code, reason: "" }); }
};
const client = new Client({ url: "ws://test", token: async () => ({ token: "t" }) });
client.addEventListener("message", (event) => given.push(event.detail.seq));
client.addEventListener("gap", (event) => gaps.push(event.detail.channel));
const until = async (condition) => { while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1)); };
const write = (count) => { for (let n = 0; n < count; n++) log.push(message(log.length + 1)); };
client.start();
await until(() => client.state === "online");
"""


def run(window: Window, test: str) -> Any:
    """Run a test's script behind the fake server; return what it returns."""
    source = (
        "const done = arguments[arguments.length - 1];"
        "(async () => {" + FAKE_SERVER + test + "})().then(done, (error) => done(`failed: ${error.stack}`));"
    )
    window.driver.set_script_timeout(20)
    return window.driver.execute_async_script(source)


@pytest.fixture
def window(drivers: list[Chrome], calm_node: NodeProcess) -> Window:
    """A window at the page's origin, where nobody is logged in."""
    opened = Window(drivers[0], f"{calm_node.http_url}/")
    opened.visit()
    return opened


def test_a_hole_is_filled_before_what_comes_after_it(window: Window) -> None:
    given = run(
        window,
        """
        await client.subscribe("room:a");
        write(5);
        for (const seq of [1, 4, 5, 5]) socket.hear(log[seq - 1]);
        await until(() => given.length >= 5);
        return given;
        """,
    )
    assert given == [1, 2, 3, 4, 5]


def test_what_was_missed_while_away_comes_once(window: Window) -> None:
    given = run(
        window,
        """
        await client.subscribe("room:a");
        write(2);
        socket.hear(log[0]);
        socket.hear(log[1]);
        socket.break();
        write(2);
        await until(() => client.state === "online");
        socket.hear(log[3]);
        write(1);
        socket.hear(log[4]);
        return [given, said.filter(({ type }) => type === "subscribe").length, said.at(-1).cursors];
        """,
    )
    assert given == [[1, 2, 3, 4, 5], 1, {"room:a": ["e1", 2]}]


def test_a_message_without_an_answer_is_sent_again_with_its_key(window: Window) -> None:
    sends, given, sent = run(
        window,
        """
        await client.subscribe("room:a");
        mute = true;
        const sending = client.send("room:a", { text: "mine" });
        socket.break();
        mute = false;
        const sent = await sending;
        return [said.filter(({ type }) => type === "send"), given, sent];
        """,
    )
    assert [send.get("retry", False) for send in sends] == [False, True]
    assert sends[0]["key"] == sends[1]["key"]
    assert given == [1]
    assert sent["duplicate"] is True


def test_a_message_written_while_the_connection_closes_waits_for_the_next_one(window: Window) -> None:
    sends = run(
        window,
        """
        socket.readyState = 2;  // the server's close frame came, the close event did not yet
        const sending = client.send("room:a", { text: "mine" });
        await new Promise((resolve) => setTimeout(resolve));
        const before = said.filter(({ type }) => type === "send").length;
        socket.break(4000);
        await sending;
        return [before, said.filter(({ type }) => type === "send").map(({ retry }) => retry ?? false)];
        """,
    )
    assert sends == [0, [False]]


def test_a_new_epoch_is_told_as_a_gap(window: Window) -> None:
    given, gaps = run(
        window,
        """
        await client.subscribe("room:a");
        socket.hear(message(1));
        socket.hear(message(1000, "e2"));
        return [given, gaps];
        """,
    )
    assert given == [1, 1000]
    assert gaps == ["room:a"]


@pytest.mark.parametrize(
    ("code", "state"),
    [(1006, "waiting"), (4000, "waiting"), (4005, "idle"), (4500, "idle"), (4503, "idle"), (1002, "idle")],
)
def test_a_close_code_says_whether_to_come_back(window: Window, code: int, state: str) -> None:
    assert run(window, f"socket.break({code}); return client.state;") == state


def test_a_session_whose_token_ended_comes_back_with_a_fresh_one(window: Window) -> None:
    asked = run(
        window,
        """
        const asked = [];
        client.token = async (fresh) => { asked.push(fresh); return { token: "t" }; };
        socket.break(4003);
        await until(() => client.state === "online");
        return asked;
        """,
    )
    assert asked == [True]


def test_a_token_is_renewed_before_the_time_that_the_answer_told(window: Window) -> None:
    delays = run(
        window,
        """
        const delays = [], real = setTimeout;
        window.setTimeout = (call, delay, ...rest) => {
          if (delay < 100_000) return real(call, delay, ...rest);
          delays.push(delay);
          return real(call, delays.length === 1 ? 1 : 2 ** 30, ...rest);
        };
        const connect = answers.connect;
        answers.connect = (command) => ({ ...connect(command), time: 5_000_000_000, expires: 5_000_900_000 });
        answers.refresh = () => ({ type: "refreshed", expires: 5_001_800_000 });
        socket.break(4003);
        await until(() => delays.length === 2);
        return delays;
        """,
    )
    assert 700_000 < delays[0] < 900_000
    assert 1_500_000 < delays[1] < 1_800_000


def test_a_client_that_is_refused_twice_asks_for_a_login(window: Window) -> None:
    assert run(
        window,
        """
        let refused = null;
        client.addEventListener("refused", (event) => { refused = event.detail; });
        answers.connect = () => ({ type: "error", code: 204, reason: "forged" });
        socket.break(4502);
        await until(() => refused !== null);
        return [client.state, refused.signedOut, said.filter(({ type }) => type === "connect").length];
        """,
    ) == ["idle", True, 2]
