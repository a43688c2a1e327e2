"""What is not tried after a broker has hung up on messages, and for how long."""

from __future__ import annotations

from support.clock import Clock

from pyboot_svc.worker.mqtt.refusal.lessons import Lesson


def test_the_size_of_results_is_learnt_once_a_smaller_one_gets_through() -> None:
    lesson = Lesson(clock=Clock())
    lesson.given_up(3000, "out")
    lesson.taken(100, "out")
    assert not lesson.forbids(3000, "out"), "it may be something else in a single one"
    lesson.given_up(3100, "out")
    assert not lesson.forbids(3000, "out")
    lesson.taken(100, "out")
    assert [lesson.forbids(size, "out") for size in (2999, 3000, 5000)] == [False, True, True]


def test_one_is_enough_where_the_broker_says_that_it_is_too_large() -> None:
    lesson = Lesson(clock=Clock())
    lesson.given_up(3000, "out", too_large=True)
    lesson.taken(100, "out")
    assert lesson.forbids(3000, "out")


def test_one_as_large_that_gets_through_teaches_that_it_is_not_the_size() -> None:
    lesson = Lesson(clock=Clock())
    for content in (3000, 3000, 2999):
        lesson.given_up(content, "out")
        lesson.taken(3000, "out")
        lesson.taken(100, "out")
        assert not lesson.forbids(9000, "out")


def test_a_smaller_one_to_another_topic_says_nothing_of_the_size() -> None:
    lesson = Lesson(clock=Clock())
    lesson.given_up(3000, "forbidden")
    lesson.given_up(3000, "forbidden")
    lesson.taken(100, "out")
    assert not lesson.forbids(3000, "out")
    lesson.taken(200, "forbidden")
    assert lesson.forbids(3000, "out")


def test_it_is_not_the_topic_when_many_have_such() -> None:
    lesson = Lesson(clock=Clock())
    for number in range(3):
        lesson.given_up(3000 + number, f"out/{number}")
        assert not lesson.forbids(3000, "out")
        lesson.taken(100, "out/small")
    assert lesson.forbids(3000, "out")
    assert lesson.of_topics


def test_to_a_topic_that_takes_something_more_is_tried() -> None:
    """Those of which all were given up may be forbidden, whatever the size."""
    clock = Clock()
    lesson = Lesson(clock=clock)
    for number in range(3):
        lesson.given_up(300, f"forbidden/{number}")
    for _ in range(7):
        lesson.taken(100, "out")
        assert (lesson.forbids(300, "forbidden/9"), lesson.forbids(300, "out")) == (True, False)
        clock.now += 99
    lesson.taken(100, "out")
    assert not lesson.forbids(300, "out")


def test_one_as_large_that_is_taken_opens_all_topics() -> None:
    lesson = Lesson(clock=Clock())
    for number in range(3):
        lesson.given_up(300, f"forbidden/{number}")
    lesson.taken(100, "out")
    assert lesson.forbids(300, "forbidden/9")
    lesson.taken(300, "out")
    assert not lesson.forbids(300, "forbidden/9")
    assert not lesson.open


def test_a_size_that_nothing_tells_of_is_not_asked_about_for_ever() -> None:
    clock = Clock()
    lesson = Lesson(clock=clock)
    lesson.given_up(3000, "forbidden")
    clock.now += 601
    lesson.taken(100, "out")
    assert not lesson.open


def test_a_lesson_is_forgotten_after_a_while() -> None:
    clock = Clock()
    lesson = Lesson(clock=clock)
    lesson.given_up(3000, "out")
    lesson.given_up(3000, "out")
    lesson.taken(100, "out")
    assert lesson.forbids(3000, "out")
    clock.now += 601
    assert not lesson.forbids(3000, "out")
    assert not lesson.open


def test_after_some_in_a_row_attempts_are_slow_until_one_gets_through() -> None:
    lesson = Lesson(clock=Clock())
    for size in (30, 20, 10):
        assert not lesson.slow
        lesson.given_up(size, "out")
    assert lesson.slow
    lesson.taken(10, "out")
    assert not lesson.slow


def closed(lesson: Lesson, topic: str, size: int = 44) -> bool:
    """After three that were given up, one after the other."""
    for _ in range(3):
        assert not lesson.closes(topic)
        lesson.given_up(size, topic)
        lesson.taken(40, "good")
    lesson.given_up(size, topic)
    return lesson.closes(topic)


def test_a_topic_of_which_some_in_a_row_were_given_up_is_not_tried() -> None:
    clock = Clock()
    lesson = Lesson(clock=clock)
    assert closed(lesson, "forbidden")
    assert not lesson.closes("good")
    assert not lesson.forbids(9000, "out")
    clock.now += 601
    assert not lesson.closes("forbidden")
    lesson.taken(40, "good")
    assert not lesson.open


def test_it_may_be_the_size_where_no_other_is_nearly_as_large() -> None:
    assert not closed(Lesson(clock=Clock()), "large", 81)


def test_a_topic_of_which_one_gets_through_is_allowed() -> None:
    lesson = Lesson(clock=Clock())
    for _ in range(5):
        lesson.given_up(44, "some")
        lesson.given_up(44, "some")
        lesson.taken(44, "some")
    assert not lesson.closes("some")


def test_topics_that_are_remembered_are_bounded() -> None:
    lesson = Lesson(clock=Clock())
    for number in range(101):
        assert closed(lesson, f"forbidden/{number}")
    assert not lesson.closes("forbidden/0")
    assert lesson.closes("forbidden/100")


def test_dead_letters_are_tried_again_once_as_large_results_get_through() -> None:
    lesson = Lesson(optional=True, clock=Clock())
    lesson.warned(300)
    lesson.disproved(299)
    assert lesson.forbids(300, "out")
    lesson.disproved(300)
    assert not lesson.forbids(300, "out")


def test_of_dead_letters_none_is_tried_after_some_in_a_row() -> None:
    lesson = Lesson(optional=True, clock=Clock())
    lesson.given_up(3000, "out")
    assert [lesson.forbids(size, "out") for size in (2999, 3000)] == [False, True]
    lesson.given_up(2000, "out")
    lesson.given_up(2500, "out")
    assert lesson.forbids(1, "out")
    assert not lesson.slow
