"""The About page: what the labels mean, their accuracy, legal limits, and stored data."""

from __future__ import annotations

import streamlit as st

_TEXT = """
## It labels facial expressions. It does not read feelings.

A label describes what a face looks like in one frame: raised brows, a smile, a frown. People smile
out of courtesy and frown at the sun, and a sad person may show nothing. No label says what a
person feels, thinks or intends. Do not base decisions about people on them.

## Accuracy and its limits

- **Measured on web photographs.** The published accuracy was measured on FER2013 faces with FER+
  labels: small grey images from a web search, each labelled by ten people who often disagreed.
  Your cameras, light and people are different. `undercam evaluate` prints the figures.
- **Rare expressions are weak.** Of a thousand training faces about 350 are neutral and 290 happy,
  but only 20 show fear, 5 disgust and 5 contempt. These three are often missed, and often wrong
  when they are predicted.
- **People are not equally represented.** The training images are not balanced by age, gender, skin
  tone or culture, and they carry no such information, so the difference in accuracy between groups
  of people has not been measured. Expect lower accuracy for people who are rare in such images.
- **Difficult images stay difficult.** Under a display panel, in the dark, from the side or with a
  mask, faces are missed first and mislabelled next. A prediction that is too uncertain is shown as
  *unknown*: it means "no answer" and is not an expression.

## Where it may not be used

- **Not in workplaces and schools.** The EU AI Act (Regulation 2024/1689), Article 5(1)(f),
  prohibits AI systems that infer emotions of people at the workplace and in education, except for
  medical or safety reasons.
- **Elsewhere, inform people and ask for their consent.** The Act lists emotion recognition among
  its high-risk uses (Annex III) and requires that the people exposed to it are informed (Article
  50(3)). A face is personal data: you need a legal basis, as a rule people's consent, and have to
  delete their data on request.

## What is stored, and how to delete it

Rows hold numbers: the position of a face, its eight probabilities, its times. Cameras that run
store no image of a face, there is no setting that makes them, and these pages show none. Images of
the people in your clips are written only by `undercam analyze --annotate FILE` and `undercam udc`,
on your command.

`undercam erase` deletes a track, a camera's rows or everything before a time, for ever: what is
sent again later is not stored. `store.keep_days`, or a limit of a camera's own, deletes what is
older. `emotion_minutes`, sums over all faces of a minute, are reduced by what is deleted. Without
them rows stay, and `undercam cameras remove` keeps them. There is no command that reaches backups;
Kafka keeps records for `bus.retention_hours` in topics that Undercam created.
"""


def show() -> None:
    """The page."""
    st.title("About", anchor=False)
    with st.container(width=760):
        st.markdown(_TEXT, anchors=False)
