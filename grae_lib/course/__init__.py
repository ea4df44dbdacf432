"""The course: assignments with their grading, and slides made from the built chapters.

- :mod:`grae_lib.course.build` turns one authored file an assignment into student and solution
  versions with otter-grader;
- :mod:`grae_lib.course.grade` grades a folder of submissions offline and writes a CSV;
- :mod:`grae_lib.course.worker` is what runs inside the process of one submission;
- :mod:`grae_lib.course.slides` makes one deck a chapter from the pages of the built book.

Command line: ``python -m grae_lib.course assignments|grade|slides --help``.
"""
