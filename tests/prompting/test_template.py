from __future__ import annotations

import pytest
from langchain_core.prompts import ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate

from dsplus_chains.prompting.template import as_template, template_as_data
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.task import LabelTask

WHOLE = ChatPromptTemplate.from_template("{today}: {input}").partial(today="Monday")
PART = HumanMessagePromptTemplate(prompt=PromptTemplate.from_template("{today}: {input}").partial(today="Monday"))


@pytest.mark.parametrize("template", [WHOLE, ChatPromptTemplate([PART])])
def test_values_of_a_templates_own_are_not_lost_in_its_data(template):
    with pytest.raises(InvalidInputError, match=r"values of its own for \['today'\]"):
        template_as_data(template)
    assert LabelTask(labels=["a", "b"], template=template).task_hash is None


def test_a_template_comes_back_from_its_data():
    template = as_template([("system", "{labels}"), ("human", "{input}")])
    assert as_template(template_as_data(template)) == template
