"""E-mail."""

import email.message
import email.policy

import pytest

from engine.documents.readers.interface import Heading, Unreadable
from engine.documents.readers.mail import read_mailbox, read_message

PLAIN = b"""From: Ada <ada@example.org>
To: Bo <bo@example.org>
Subject: =?utf-8?q?K=C3=A4se?= on
 Monday
Date: Tue, 04 Mar 2025 05:06:07 +0000
X-Mailer: none

Dear Bo,

the boat is in.
--
Ada
"""


def _message(**content: object) -> email.message.EmailMessage:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = "ada@example.org"
    message["Subject"] = "Boats"
    message.set_content(content.get("plain", ""))
    return message


def test_a_message_is_its_subject_as_heading_who_wrote_it_and_its_text():
    reading = read_message(PLAIN)
    assert reading.text == (
        "Käse on Monday\n\nFrom: Ada <ada@example.org>\nTo: Bo <bo@example.org>\n"
        "Date: Tue, 04 Mar 2025 05:06:07 +0000\n\nDear Bo,\n\nthe boat is in.\n--\nAda\n\n"
    )
    assert [b.heading for b in reading.blocks if b.heading] == [Heading(1, "Käse on Monday")]


def test_who_when_and_about_what_is_metadata():
    assert dict(read_message(PLAIN).metadata) == {
        "subject": "Käse on Monday",
        "from": "Ada <ada@example.org>",
        "to": "Bo <bo@example.org>",
        "title": "Käse on Monday",
        "date": "2025-03-04",
    }


def test_html_is_read_where_there_is_no_plain_text():
    message = _message(plain="")
    message.add_alternative("<p>the <b>boat</b></p><script>x</script>", subtype="html")
    assert read_message(bytes(message)).text.endswith("the **boat**\n\n")
    message = _message(plain="plain words")
    message.add_alternative("<p>html words</p>", subtype="html")
    assert "html words" not in read_message(bytes(message)).text


def test_attachments_are_named_and_not_read():
    message = _message(plain="see there")
    message.add_attachment(b"PK secret", maintype="application", subtype="zip", filename="ä b.zip")
    message.add_attachment("inner words", filename="c.txt")
    text = read_message(bytes(message)).text
    assert "Attachments: ä b.zip, c.txt" in text
    assert "secret" not in text
    assert "inner words" not in text


@pytest.mark.parametrize("charset", ["koi8-r", "no-such-charset", "utf-8"])
def test_letters_are_read_as_the_message_says_or_by_a_guess(charset):
    words = "Это русское предложение, предназначенное для проверки определения кодировки."
    head = f"Subject: x\nContent-Type: text/plain; charset={charset}\n\n".encode()
    assert words in read_message(head + words.encode("koi8-r")).text


def test_each_message_of_a_mailbox_has_its_heading():
    separator = b"From ada@example.org Tue Mar  4 05:06:07 2025\n"
    mailbox = separator + PLAIN + b"\n" + separator + PLAIN.replace(b" on", b" off")
    reading = read_mailbox(mailbox)
    headings = [b.heading.text for b in reading.blocks if b.heading]
    assert headings == ["Käse on Monday", "Käse off Monday"]


def test_what_is_no_message_is_refused():
    with pytest.raises(Unreadable, match="it begins with no header"):
        read_message(b"just words\n\nSubject: x\n")
    with pytest.raises(Unreadable, match="it holds no message"):
        read_mailbox(PLAIN)
