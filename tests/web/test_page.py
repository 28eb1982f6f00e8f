"""The page in real browsers, on a real node: what a newcomer sees and does."""

import pytest

from tests.system.process import NodeProcess
from tests.web.window import Window

pytestmark = [pytest.mark.browser, pytest.mark.system]

DIRECT = "dm:alice:bob"


def test_two_windows_talk_in_a_room(alice: Window, bob: Window) -> None:
    alice.say("good morning")
    bob.hears("good morning")
    bob.say("hello alice")
    alice.hears("hello alice")
    alice.sees("#talk-people", "2 people here")
    assert alice.texts() == bob.texts() == ["good morning", "hello alice"]
    alice.all_sent()


def test_a_long_talk_scrolls_and_the_page_around_it_does_not(alice: Window) -> None:
    for number in range(30):
        alice.say(f"line {number}")
    alice.hears("line 29")
    alice.all_sent()
    around, talk = alice.script(
        "const overflow = (it) => it.scrollHeight - it.clientHeight;"
        "return [overflow(document.documentElement), overflow(document.querySelector('.scroller'))]"
    )
    assert around == 0
    assert talk > 0


def test_two_windows_talk_by_direct_message(alice: Window, bob: Window) -> None:
    alice.start("dm", "bob")
    alice.say("only for you")
    bob.sees(f'.conversation[data-channel="{DIRECT}"] .preview', "only for you")
    assert bob.find(f'.conversation[data-channel="{DIRECT}"] .unread').get_property("textContent") == "1 unread"
    bob.open(DIRECT)
    bob.hears("only for you")
    bob.say("I see")
    alice.hears("I see")
    assert alice.texts() == bob.texts() == ["only for you", "I see"]
    assert not bob.all(".has-unread")


def test_one_sees_whether_the_other_is_there(alice: Window, bob: Window) -> None:
    alice.start("dm", "bob")
    alice.sees("#talk-people", "online")
    bob.click("#logout-button")
    bob.find("#welcome")
    alice.sees("#talk-people", "last seen just now")
    bob.log_in("bob")
    alice.sees("#talk-people", "online")


def test_a_page_that_nobody_looks_at_makes_its_user_away(alice: Window, bob: Window) -> None:
    alice.start("dm", "bob")
    alice.sees("#talk-people", "online")
    # A headless browser shows all its tabs, so the page is told that it is hidden.
    bob.script(
        "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    alice.sees("#talk-people", "away")
    bob.script("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    alice.sees("#talk-people", "online")


def test_a_guest_talks_in_rooms_and_is_told_what_needs_an_account(windows: list[Window], bob: Window) -> None:
    guest = windows[0]
    guest.come_as_guest()
    guest.say("may I?")
    bob.hears("may I?")
    guest.click("#start-button")
    guest.click("input[value=dm] + span")
    assert "need an account" in guest.find("#start-hint").text
    guest.click("#start-account")
    assert guest.find("#account-submit").text == "Create account"


def test_a_wrong_password_is_refused_with_a_reason(alice: Window) -> None:
    alice.click("#logout-button")
    alice.find("#account-name").send_keys("alice")
    alice.find("#account-password").send_keys("not the password")
    alice.click("#account-submit")
    assert "wrong" in alice.find("#account-error").text
    assert [complaint for complaint in alice.complaints() if "401" not in complaint] == []


def test_all_conversations_are_listed_whatever_the_size_of_a_page(alice: Window) -> None:
    groups = {f"group:g{number}" for number in range(7)}
    for channel in groups:
        alice.start("group", channel.removeprefix("group:"))
    alice.visit()
    alice.is_connected()
    alice.wait(lambda: groups <= {each.get_attribute("data-channel") for each in alice.all(".conversation")})


def test_a_group_is_made_and_people_are_invited(alice: Window, bob: Window) -> None:
    alice.start("group", "picnic")
    alice.sees("#talk-title", "picnic")
    alice.say("who brings plates?")
    alice.all_sent()
    alice.click("#people-button")
    alice.find("#people-names").send_keys("bob")
    alice.click("#people-invite button")
    alice.sees("#people-list .grow", "bob")
    alice.click("#people-dialog [data-close]")
    bob.open("group:picnic")
    bob.hears("who brings plates?")
    bob.sees("#log .happening", "alice invited bob")
    bob.say("me")
    alice.hears("me")
    bob.click("#people-button")
    bob.click("#people-leave")
    bob.wait(lambda: not bob.all('.conversation[data-channel="group:picnic"]'))
    alice.sees("#log .happening", "bob left")
    alice.sees("#talk-people", "alice")


def test_nobody_is_found_under_a_wrong_name(alice: Window) -> None:
    alice.start("dm", "nobody-here")
    assert "no account" in alice.find("#start-error").text
    assert [complaint for complaint in alice.complaints() if "404" not in complaint] == []


def test_markup_in_a_message_is_shown_as_text(alice: Window, bob: Window) -> None:
    markup = "<img src=x onerror=\"document.title='caught'\"><b>bold</b> & <script>alert(1)</script>"
    alice.say(markup)
    bob.hears(markup)
    assert bob.all("#log img, #log b, #log script") == []
    assert bob.driver.title == "lobby · chatd"


def test_only_web_addresses_become_links(alice: Window) -> None:
    alice.say("see https://example.org/a?b=c, not javascript:alert(1) and not ftp://example.org")
    alice.find("#log a")
    assert [link.get_attribute("href") for link in alice.all("#log a")] == ["https://example.org/a?b=c"]


def test_a_second_tab_shows_the_same(alice: Window, bob: Window) -> None:
    alice.start("dm", "bob")
    alice.say("from the first tab")
    alice.all_sent()
    first = alice.driver.current_window_handle
    alice.driver.switch_to.new_window("tab")
    alice.visit()
    alice.is_connected()
    alice.open(DIRECT)
    alice.hears("from the first tab")
    alice.say("from the second tab")
    alice.all_sent()
    bob.open(DIRECT)
    bob.say("to both")
    alice.hears("to both")
    second = alice.texts()
    alice.driver.switch_to.window(first)
    alice.hears("to both")
    assert alice.texts() == second == ["from the first tab", "from the second tab", "to both"]


def test_logging_out_in_one_tab_logs_out_the_other(alice: Window) -> None:
    first = alice.driver.current_window_handle
    alice.driver.switch_to.new_window("tab")
    alice.visit()
    alice.is_connected()
    alice.click("#logout-button")
    alice.find("#welcome")
    alice.driver.switch_to.window(first)
    alice.find("#welcome")


def test_what_was_said_is_there_after_a_crash_and_what_was_written_meanwhile_arrives(
    alice: Window, bob: Window, node: NodeProcess
) -> None:
    alice.start("dm", "bob")
    alice.say("before the crash")
    alice.all_sent()
    size = bob.driver.get_window_size()
    bob.driver.set_window_size(500, 800)  # as narrow as a phone's: the list or a talk
    bob.find("#back-button").click()
    node.kill()
    for window in (alice, bob):
        window.find("#connection")
        assert "offline" in window.find("#connection-text").text
    bob.driver.set_window_size(size["width"], size["height"])
    alice.say("during the crash")
    alice.say("and one more")
    alice.wait(lambda: alice.states() == ["sent", "pending", "pending"])
    node.start()
    alice.is_connected()
    alice.all_sent()
    alice.wait(lambda: not alice.all("#connection")[0].is_displayed())
    bob.open(DIRECT)
    bob.hears("and one more")
    assert alice.texts() == bob.texts() == ["before the crash", "during the crash", "and one more"]
    _forgive_lost_connections(alice, bob)


def test_a_message_written_offline_survives_a_reload(alice: Window, bob: Window, node: NodeProcess) -> None:
    alice.start("dm", "bob")
    alice.say("one")
    alice.all_sent()
    node.stop()
    alice.find("#connection")
    alice.say("two")
    alice.wait(lambda: alice.states() == ["sent", "pending"])
    node.start()
    alice.visit()
    alice.is_connected()
    bob.is_connected()
    alice.open(DIRECT)
    alice.hears("two")
    alice.all_sent()
    bob.open(DIRECT)
    bob.hears("two")
    assert alice.texts() == bob.texts() == ["one", "two"]
    _forgive_lost_connections(alice, bob)


def test_a_room_is_there_after_a_restart(alice: Window, node: NodeProcess) -> None:
    alice.start("room", "garden")
    alice.say("tomatoes are ripe")
    alice.all_sent()
    node.stop()
    node.start()
    alice.visit()
    alice.is_connected()
    alice.open("room:garden")
    alice.hears("tomatoes are ripe")
    _forgive_lost_connections(alice)


def test_revoking_a_device_throws_its_window_out(windows: list[Window], alice: Window) -> None:
    other = windows[1]
    other.log_in("alice")
    alice.click("#devices-button")
    alice.wait(lambda: len(alice.all("#devices-list li")) == 2)
    alice.click("#devices-list .link")
    alice.wait(lambda: len(alice.all("#devices-list li")) == 1)
    assert "logged out" in other.find("#welcome-notice").text
    other.visit()
    other.find("#welcome")
    alice.find("#devices-dialog .tag")


def test_older_messages_come_by_scrolling_up(alice: Window) -> None:
    # Sixty at once are within the limits of a user, and more than one page.
    alice.wait(lambda: "Say hello" in alice.find("#older").text)
    alice.script(
        "const text = document.getElementById('text'), form = document.getElementById('composer');"
        "for (let n = 1; n <= 58; n++) { text.value = `message ${n}`; form.requestSubmit(); }"
    )
    alice.wait(lambda: len(alice.states()) == 58)
    alice.all_sent()
    alice.visit()
    alice.hears("message 58")
    alice.wait(lambda: len(alice.texts()) == 50)
    alice.script("document.getElementById('scroller').scrollTop = 0")
    alice.wait(lambda: len(alice.texts()) == 58)
    assert alice.texts() == [f"message {number}" for number in range(1, 59)]
    alice.sees("#older", "This is where it begins.")


def _forgive_lost_connections(*windows: Window) -> None:
    """A browser logs each connection that fails; here that was meant."""
    for window in windows:
        complaints = window.complaints()
        assert [text for text in complaints if "ERR_CONNECTION" not in text and "WebSocket" not in text] == []
